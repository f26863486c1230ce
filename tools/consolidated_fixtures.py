"""Makes fixtures/consolidated: models as Meta and Mistral publish them themselves.

Usage: python tools/consolidated_fixtures.py fixtures/consolidated fixtures/families

`llama/` is the family's fixture in two ranks (consolidated.00.pth, consolidated.01.pth) with params.json, divided as
llama-models divides it; `mixtral/` is that of Mixtral in one consolidated.safetensors. Rows of queries and keys are in the
order of before transformers' conversion, whose `permute` is undone here. Needs torch and safetensors.
"""

import json
import pathlib
import re
import sys

import torch
from safetensors.torch import load_file, save_file

NAMES = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    "block_sparse_moe.gate": "feed_forward.gate", "model.embed_tokens": "tok_embeddings", "lm_head": "output",
    "model.norm": "norm",
}
ROWS, COLUMNS = ["wq", "wk", "wv", "w1", "w3", "output"], ["wo", "w2", "tok_embeddings"]


def by_pairs(weight, head_dim):
    """Undoes `permute` of convert_llama_weights_to_hf: elements that rotate together come beside each other."""
    n_out, n_in = weight.shape
    return weight.view(n_out // head_dim, 2, head_dim // 2, n_in).transpose(1, 2).reshape(n_out, n_in).contiguous()


def own(name):
    """What the makers call a tensor of transformers."""
    module = name.removesuffix(".weight")
    layer = re.match(r"model\.layers\.(\d+)\.(.*)", module)
    front, module = (f"layers.{layer[1]}.", layer[2]) if layer else ("", module)
    module = module.replace("block_sparse_moe.experts.", "feed_forward.experts.")
    return f"{front}{NAMES.get(module, module)}.weight"


def read(family):
    config = json.loads((family / "config.json").read_text())
    weights = {}
    for name, weight in load_file(family / "model.safetensors").items():
        if re.search(r"\.(q|k)_proj\.weight$", name):
            weight = by_pairs(weight, config["head_dim"])
        weights[own(name)] = weight
    params = {
        "dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "head_dim": config["head_dim"],
        "n_heads": config["num_attention_heads"], "n_kv_heads": config["num_key_value_heads"],
        "norm_eps": config["rms_norm_eps"], "rope_theta": config["rope_parameters"]["rope_theta"],
        "max_seq_len": config["max_position_embeddings"],
    }
    return config, weights, params


def ranks(weights, n):
    """What each of `n` ranks holds."""
    for rank in range(n):
        part = {"rope.freqs": torch.ones(8)}
        for name, weight in weights.items():
            module = name.split(".")[-2]
            axis = 0 if module in ROWS else 1 if module in COLUMNS else None
            part[name] = weight if axis is None else weight.chunk(n, axis)[rank].clone()
        yield part


def main():
    out, families = map(pathlib.Path, sys.argv[1:])
    llama, mixtral = out / "llama", out / "mixtral"
    for folder in llama, mixtral:
        folder.mkdir(parents=True, exist_ok=True)
    _, weights, params = read(families / "llama")
    for rank, part in enumerate(ranks(weights, 2)):
        torch.save(part, llama / f"consolidated.{rank:02}.pth")
    (llama / "params.json").write_text(json.dumps(params | {"vocab_size": -1, "multiple_of": 8}))
    config, weights, params = read(families / "llama-mixtral")
    save_file(weights, mixtral / "consolidated.safetensors")
    moe = {"num_experts": config["num_local_experts"], "num_experts_per_tok": config["num_experts_per_tok"]}
    params |= {"vocab_size": config["vocab_size"], "hidden_dim": config["intermediate_size"], "moe": moe}
    (mixtral / "params.json").write_text(json.dumps(params))


if __name__ == "__main__":
    main()
