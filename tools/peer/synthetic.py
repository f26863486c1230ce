#!/usr/bin/env python3
"""Writes a Llama checkpoint of a given shape with random BF16 weights, to measure speed with.

    python tools/peer/synthetic.py 1B /tmp/synthetic-1B [--tokenizer fixtures/models/fairytale]

Shapes: 1B (Llama 3.2 1B), 3B (Llama 3.2 3B), 7B (Llama 2 7B). Weights are normally distributed with
the deviation 0.02; a block of 32 million of them is repeated with changing offsets, so that writing takes
as long as the disk does. The tokenizer is borrowed; ids beyond its vocabulary have no text. Needs `numpy`.
"""

import argparse
import json
import pathlib
import shutil

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHAPES = {
    "1B": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
               num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True, rope_theta=500000.0),
    "3B": dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
               num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True, rope_theta=500000.0),
    "7B": dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
               num_key_value_heads=32, vocab_size=32000, tie_word_embeddings=False, rope_theta=10000.0),
}  # fmt: skip
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]
SEED_WEIGHTS = 1 << 25
# Bytes of a shard, about; tensors are not divided.
SHARD_BYTES = 4 << 30


def tensors(config):
    """Names and shapes, in the order of the file."""
    n_embd, n_ff = config["hidden_size"], config["intermediate_size"]
    n_kv = n_embd // config["num_attention_heads"] * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], n_embd)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (n_embd,)
        yield f"{layer}.self_attn.q_proj.weight", (n_embd, n_embd)
        yield f"{layer}.self_attn.k_proj.weight", (n_kv, n_embd)
        yield f"{layer}.self_attn.v_proj.weight", (n_kv, n_embd)
        yield f"{layer}.self_attn.o_proj.weight", (n_embd, n_embd)
        yield f"{layer}.post_attention_layernorm.weight", (n_embd,)
        yield f"{layer}.mlp.gate_proj.weight", (n_ff, n_embd)
        yield f"{layer}.mlp.up_proj.weight", (n_ff, n_embd)
        yield f"{layer}.mlp.down_proj.weight", (n_embd, n_ff)
    yield "model.norm.weight", (n_embd,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], n_embd)


def bf16(values):
    """The upper halves of floats."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write_shard(path, shapes, seed, offset):
    """Writes a safetensors file; returns where in the random weights the next one goes on."""
    header, at = {}, 0
    for name, shape in shapes:
        n_bytes = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in shapes:
            if len(shape) == 1:
                file.write(bf16(np.ones(shape)).tobytes())
                continue
            rest = int(np.prod(shape))
            while rest:
                n = min(rest, SEED_WEIGHTS - offset)
                file.write(seed[offset : offset + n].data)
                rest, offset = rest - n, (offset + n + 4099) % SEED_WEIGHTS
    return offset


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, default=REPOSITORY / "fixtures/models/fairytale")
    args = parser.parse_args()
    borrowed = json.loads((args.tokenizer / "config.json").read_text())
    shape = SHAPES[args.shape]
    config = {
        **{key: borrowed[key] for key in ["bos_token_id", "eos_token_id"]},
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 32768, **shape,
    }  # fmt: skip
    args.target.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(args.tokenizer / name, args.target / name)
    (args.target / "config.json").write_text(json.dumps(config, indent=1))

    shards, n_bytes = [[]], 0
    for tensor in tensors(config):
        tensor_bytes = 2 * int(np.prod(tensor[1]))
        if n_bytes + tensor_bytes > SHARD_BYTES and shards[-1]:
            shards.append([])
            n_bytes = 0
        shards[-1].append(tensor)
        n_bytes += tensor_bytes
    seed = bf16(np.random.default_rng(1).standard_normal(SEED_WEIGHTS, np.float32) * 0.02)
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    offset, index = 0, {}
    for name, shapes in zip(names, shards):
        offset = write_shard(args.target / name, shapes, seed, offset)
        index.update({tensor: name for tensor, _ in shapes})
    (args.target / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    print(f"{args.target}: {len(index)} tensors in {len(shards)} files")


if __name__ == "__main__":
    main()
