#!/usr/bin/env python3
"""Compares the types that our recipes choose with those of llama-quantize, tensor by tensor.

    cargo build --release
    python tools/peer/recipe.py [--convert target/release/gguf-convert]

Makes checkpoints of telling shapes (layers, grouped queries, experts, rows that misfit), converts each
to F32, has llama.cpp quantise that to every file type, and compares with the plan of a dry run. The exit
status is 1 if any tensor differs. Needs `llama_cpp`, `gguf`, `numpy` and `safetensors`.
"""

import argparse
import collections
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import save_file

from quantize import FILE_TYPES, NEED_IMPORTANCE, even_importance, quantize

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FAIRYTALE = REPOSITORY / "fixtures" / "models" / "fairytale"
N_VOCAB = 4096

Shape = collections.namedtuple("Shape", "layers embd heads heads_kv ff experts tied")
SHAPES = {
    "32 layers, 4 queries per value": Shape(32, 256, 8, 2, 256, 0, False),
    "22 layers, tied": Shape(22, 256, 8, 4, 512, 0, True),
    "80 layers, 8 queries per value": Shape(80, 256, 8, 1, 256, 0, False),
    "80 layers, one query per value": Shape(80, 256, 4, 4, 256, 0, False),
    "8 experts": Shape(9, 256, 8, 2, 256, 8, False),
    "4 experts": Shape(9, 256, 8, 2, 256, 4, False),
    "rows of 896": Shape(8, 896, 14, 2, 1152, 0, False),
    "rows of 896, tied": Shape(8, 896, 14, 2, 1152, 0, True),
    "rows of 80": Shape(8, 80, 4, 2, 176, 0, False),
}
# Flags of ours, and what they are for llama.cpp.
FLAGS = {
    "": {},
    "--pure": {"pure": True},
    "--output-tensor-type Q5_0": {"output": "Q5_0"},
    "--token-embedding-type Q4_1": {"token_embedding": "Q4_1"},
    "--tensor-type attn_v=Q5_1 --tensor-type blk\\.1\\.=F16": {"rules": ("attn_v=Q5_1", "blk\\.1\\.=F16")},
    "--tensor-type blk\\.[02]\\.(attn_v|ffn_down)=Q8_0": {"rules": ("blk\\.[02]\\.(attn_v|ffn_down)=Q8_0",)},
    "--tensor-type attn_v=Q4_K": {"rules": ("attn_v=Q4_K",)},
    "--pure --tensor-type attn_q=Q8_0": {"pure": True, "rules": ("attn_q=Q8_0",)},
}


def write_checkpoint(folder: pathlib.Path, shape: Shape) -> None:
    """A checkpoint of this shape with random weights and the bundled model's tokenizer."""
    folder.mkdir()
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(FAIRYTALE / name, folder)
    config = {
        "architectures": ["MixtralForCausalLM" if shape.experts else "LlamaForCausalLM"],
        "hidden_size": shape.embd, "intermediate_size": shape.ff, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.heads_kv, "vocab_size": N_VOCAB,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": shape.tied,
        "bos_token_id": 4091, "eos_token_id": 4092,
    }  # fmt: skip
    if shape.experts:
        config |= {"num_local_experts": shape.experts, "num_experts_per_tok": 2}
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(1)
    tensors = {}

    def add(name: str, *dims: int) -> None:
        tensors[name] = (random.standard_normal(dims) / 16).astype(np.float16)

    kv = shape.embd // shape.heads * shape.heads_kv
    add("model.embed_tokens.weight", N_VOCAB, shape.embd)
    add("model.norm.weight", shape.embd)
    if not shape.tied:
        add("lm_head.weight", N_VOCAB, shape.embd)
    for i in range(shape.layers):
        layer = f"model.layers.{i}"
        add(f"{layer}.input_layernorm.weight", shape.embd)
        add(f"{layer}.post_attention_layernorm.weight", shape.embd)
        for name, rows in [("q", shape.embd), ("k", kv), ("v", kv), ("o", shape.embd)]:
            add(f"{layer}.self_attn.{name}_proj.weight", rows, shape.embd)
        if shape.experts:
            add(f"{layer}.block_sparse_moe.gate.weight", shape.experts, shape.embd)
            experts = [f"{layer}.block_sparse_moe.experts.{e}" for e in range(shape.experts)]
            names = [[f"{expert}.{w}" for expert in experts] for w in ["w1", "w3", "w2"]]
        else:
            names = [[f"{layer}.mlp.{name}_proj"] for name in ["gate", "up", "down"]]
        for stack, dims in zip(names, [(shape.ff, shape.embd), (shape.ff, shape.embd), (shape.embd, shape.ff)]):
            for name in stack:
                add(f"{name}.weight", *dims)
    save_file(tensors, folder / "model.safetensors")


def write_importance(base: pathlib.Path, target: pathlib.Path) -> None:
    """An importance matrix in the old format that says nothing: one for every column of every matrix."""
    matrices = [tensor for tensor in gguf.GGUFReader(base).tensors if len(tensor.shape) > 1]
    parts = [struct.pack("<i", len(matrices))]
    for tensor in matrices:
        n = int(tensor.shape[0]) * (int(tensor.shape[2]) if len(tensor.shape) > 2 else 1)
        name = tensor.name.encode()
        parts.append(struct.pack("<i", len(name)) + name + struct.pack("<ii", 1, n))
        parts.append(np.ones(n, np.float32).tobytes())
    target.write_bytes(b"".join(parts))


def our_types(convert: pathlib.Path, checkpoint: pathlib.Path, file_type: str, flags: str) -> dict[str, str]:
    """Tensor names and the types a conversion would give them."""
    command = [convert, checkpoint, "--type", file_type, "--dry-run", "--json", *flags.split()]
    plan = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {tensor["name"]: tensor["type"] for tensor in plan["tensors"]}


def peer_types(base: pathlib.Path, file_type: str, options: dict) -> dict[str, str]:
    """Tensor names and the types that llama.cpp gave them."""
    target = base.with_suffix(".peer.gguf")
    quantize(base, target, file_type, **options)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(target).tensors}
    target.unlink()
    return types


def compare(convert: pathlib.Path, name: str, checkpoint: pathlib.Path, base: pathlib.Path) -> int:
    """Prints the differences of one checkpoint and counts them."""
    subprocess.run([convert, checkpoint, "--type", "F32", "--quiet", "-o", base], check=True)
    differing = 0
    compared = 0
    imatrix = base.with_suffix(".dat")
    write_importance(base, imatrix)
    with_importance = f"--imatrix {imatrix}"
    for flags, options in [*FLAGS.items(), (with_importance, {"importance": even_importance(base)})]:
        plain = [name for name in FILE_TYPES if name not in NEED_IMPORTANCE or name == "Q2_K_S"]
        for file_type in plain if not flags else FILE_TYPES if flags == with_importance else ["Q4_K_M", "Q4_K_S", "Q5_K_M", "Q4_0", "Q8_0", "Q3_K_M", "Q2_K", "IQ4_XS", "TQ2_0", "MXFP4_MOE"]:
            if options and flags != with_importance and any("Q4_1" in str(v) or "Q5_0" in str(v) for v in options.values()) and "80" in name:
                continue  # Types given outright must fit: both programs refuse rows of 80.
            ours, theirs = our_types(convert, checkpoint, file_type, flags), peer_types(base, file_type, options)
            compared += len(theirs)
            for tensor in sorted(ours.keys() | theirs.keys()):
                if ours.get(tensor) != theirs.get(tensor):
                    differing += 1
                    print(f"  {file_type} {flags} {tensor}: ours {ours.get(tensor)}, theirs {theirs.get(tensor)}")
    print(f"{name}: {compared} tensors compared, {differing} differ", flush=True)
    return differing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--convert", type=pathlib.Path, default=REPOSITORY / "target" / "release" / "gguf-convert")
    parser.add_argument("--only", help="compare only checkpoints with this in their name")
    args = parser.parse_args()
    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silence, None)
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = {"fairytale": FAIRYTALE}
        for i, (name, shape) in enumerate(SHAPES.items()):
            if args.only is None or args.only in name:
                checkpoints[name] = pathlib.Path(folder) / str(i)
                write_checkpoint(checkpoints[name], shape)
        for name, checkpoint in checkpoints.items():
            if args.only is None or args.only in name:
                base = pathlib.Path(folder) / "base.gguf"
                differing += compare(args.convert, name, checkpoint, base)
                base.unlink()
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
