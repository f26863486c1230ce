"""Experts of gpt-oss in MXFP4, as OpenAI's checkpoint holds them."""

import json

import torch
from safetensors.torch import load_file, save_file

BLOCK = 32
# The codes 0 to 7; 8 more is negative.
VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def encode(weight):
    """`[..., n]` as blocks `[..., n / 32, 16]`, the even elements in low halves, and scales `[..., n / 32]`."""
    groups = weight.float().unflatten(-1, (-1, BLOCK))
    exponent = torch.floor(torch.log2(groups.abs().amax(-1))) - 2.0
    scaled = groups * torch.exp2(-exponent)[..., None]
    codes = (scaled.abs()[..., None] - VALUES).abs().argmin(-1) + 8 * (scaled < 0)
    blocks = codes[..., 0::2] + 16 * codes[..., 1::2]
    return blocks.to(torch.uint8), (exponent + 127).to(torch.uint8)


def encode_experts(folder):
    """Rewrites the checkpoint in `folder`."""
    path = folder / "model.safetensors"
    tensors = {}
    for name, tensor in load_file(path).items():
        if name.endswith(("gate_up_proj", "down_proj")):
            # transformers keeps these transposed; the blocks lie along a row.
            blocks, scales = encode(tensor.transpose(-1, -2))
            tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        else:
            tensors[name] = tensor
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
