#!/usr/bin/env python3
"""Writes a checkpoint of a given shape with random weights, to measure speed with.

    python tools/peer/synthetic.py 1B /tmp/synthetic-1B [--layers N] [--tokenizer fixtures/models/fairytale]

Shapes: 1B and 3B (Llama 3.2), 7B (Llama 2), and models of other families by their names. Names and shapes
of tensors are those of the model that transformers makes of the configuration, on its device without memory.
Weights are BF16, normally distributed with the deviation 0.02; a block of 32 million of them is repeated with
changing offsets, so that writing takes as long as the disk does. The experts of gpt-oss are MXFP4, as in its
own checkpoint. `--layers` leaves layers out where the disk is small. The tokenizer is borrowed; ids beyond
its vocabulary have no text. Needs `numpy`, `torch` and `transformers`.
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Model type of transformers, and what its configuration says.
SHAPES = {
    "1B": ("llama", dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
                         num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True, rope_theta=500000.0)),
    "3B": ("llama", dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
                         num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True, rope_theta=500000.0)),
    "7B": ("llama", dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
                         num_key_value_heads=32, vocab_size=32000, tie_word_embeddings=False, rope_theta=10000.0)),
    "qwen3-0.6B": ("qwen3", dict(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, head_dim=128,
                                 num_attention_heads=16, num_key_value_heads=8, vocab_size=151936,
                                 tie_word_embeddings=True, rope_theta=1e6)),
    "qwen3-4B": ("qwen3", dict(hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, head_dim=128,
                               num_attention_heads=32, num_key_value_heads=8, vocab_size=151936,
                               tie_word_embeddings=True, rope_theta=1e6)),
    "gemma3-1B": ("gemma3_text", dict(hidden_size=1152, intermediate_size=6912, num_hidden_layers=26, head_dim=256,
                                      num_attention_heads=4, num_key_value_heads=1, vocab_size=262144,
                                      tie_word_embeddings=True, sliding_window=512)),
    "phi4-mini": ("phi3", dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=24,
                               num_key_value_heads=8, vocab_size=200064, tie_word_embeddings=True,
                               partial_rotary_factor=0.75, rope_theta=10000.0, pad_token_id=None)),
    "qwen3.5-0.8B": ("qwen3_5_text", dict(hidden_size=1024, intermediate_size=3584, num_hidden_layers=24, head_dim=256,
                                          num_attention_heads=8, num_key_value_heads=2, linear_num_key_heads=16,
                                          linear_num_value_heads=16, vocab_size=248320, tie_word_embeddings=True)),
    "qwen3.5-4B": ("qwen3_5_text", dict(hidden_size=2560, intermediate_size=9216, num_hidden_layers=32, head_dim=256,
                                        num_attention_heads=16, num_key_value_heads=4, linear_num_key_heads=16,
                                        linear_num_value_heads=32, vocab_size=248320, tie_word_embeddings=True)),
    "lfm2-1.2B": ("lfm2", dict(hidden_size=2048, intermediate_size=12288, num_hidden_layers=16, num_attention_heads=32,
                               num_key_value_heads=8, vocab_size=65536, tie_word_embeddings=True,
                               full_attn_idxs=[2, 5, 8, 10, 12, 14])),
    "granite4-h-1B": ("granitemoehybrid", dict(hidden_size=1536, intermediate_size=4096, shared_intermediate_size=4096,
                                               num_hidden_layers=40, num_attention_heads=12, num_key_value_heads=4,
                                               mamba_n_heads=48, mamba_d_head=64, mamba_d_state=128,
                                               num_local_experts=0, vocab_size=100352, tie_word_embeddings=True,
                                               attention_multiplier=0.0078125, embedding_multiplier=12.0,
                                               residual_multiplier=0.22, logits_scaling=6.0,
                                               layer_types=["full_attention" if i % 10 == 5 else "linear_attention"
                                                            for i in range(40)])),
    "gpt-oss-20b": ("gpt_oss", dict(hidden_size=2880, intermediate_size=2880, num_hidden_layers=24, head_dim=64,
                                    num_attention_heads=64, num_key_value_heads=8, vocab_size=201088,
                                    num_local_experts=32, num_experts_per_tok=4, sliding_window=128,
                                    tie_word_embeddings=False)),
    "deepseek-v2-lite": ("deepseek_v2", dict(hidden_size=2048, intermediate_size=10944, num_hidden_layers=27,
                                             num_attention_heads=16, num_key_value_heads=16, vocab_size=102400,
                                             q_lora_rank=None, kv_lora_rank=512, qk_nope_head_dim=128,
                                             qk_rope_head_dim=64, v_head_dim=128, head_dim=64, n_routed_experts=64,
                                             n_shared_experts=2, num_experts_per_tok=6, moe_intermediate_size=1408,
                                             first_k_dense_replace=1, tie_word_embeddings=False)),
}  # fmt: skip
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]
SEED_WEIGHTS = 1 << 25
# Bytes of a shard, about; tensors are not divided.
SHARD_BYTES = 4 << 30
# Scales of MXFP4 that make its codes about as large as the other weights.
MXFP4_SCALE = 120


def tensors(config):
    """Names, dtypes and shapes, in the order of the file."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        experts, _, part = name.rpartition(".")
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if not experts.endswith(".experts"):
            yield name, "BF16", shape
        elif config.model_type == "gpt_oss" and len(shape) == 3:
            # The blocks lie along the rows of the transposed matrices.
            n_experts, n_in, n_out = shape
            yield f"{name}_blocks", "U8", (n_experts, n_out, n_in // 32, 16)
            yield f"{name}_scales", "U8", (n_experts, n_out, n_in // 32)
        elif part in ("gate_up_proj", "down_proj"):
            # Files name each expert; transformers joins them when it reads.
            n_experts, n_out, n_in = shape
            parts = ["gate_proj", "up_proj"] if part == "gate_up_proj" else ["down_proj"]
            for expert in range(n_experts):
                for name in parts:
                    yield f"{experts}.{expert}.{name}.weight", "BF16", (n_out // len(parts), n_in)
        else:
            yield name, "BF16", shape


def n_bytes(dtype, shape):
    return int(np.prod(shape)) * (2 if dtype == "BF16" else 1)


def bf16(values):
    """The upper halves of floats."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write_shard(path, rows, seed, offset):
    """Writes a safetensors file; returns where in the random weights the next one goes on."""
    header, at = {}, 0
    for name, dtype, shape in rows:
        end = at + n_bytes(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, dtype, shape in rows:
            if len(shape) == 1 and name.endswith(".weight"):
                file.write(bf16(np.ones(shape)).tobytes())
                continue
            if name.endswith("_scales"):
                file.write(np.full(shape, MXFP4_SCALE, np.uint8).data)
                continue
            rest = n_bytes(dtype, shape)
            while rest:
                n = min(rest, 2 * (SEED_WEIGHTS - offset))
                file.write(seed[offset : offset + (n + 1) // 2].tobytes()[:n])
                rest, offset = rest - n, (offset + (n + 1) // 2 + 4099) % SEED_WEIGHTS
    return offset


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--layers", type=int, help="so many layers instead of the model's")
    parser.add_argument("--tokenizer", type=pathlib.Path, default=REPOSITORY / "fixtures/models/fairytale")
    args = parser.parse_args()
    borrowed = json.loads((args.tokenizer / "config.json").read_text())
    model_type, shape = SHAPES[args.shape]
    if args.layers:
        shape["num_hidden_layers"] = args.layers
    specials = {key: borrowed[key] for key in ["bos_token_id", "eos_token_id"]}
    config = CONFIG_MAPPING[model_type](max_position_embeddings=32768, dtype="bfloat16", **specials, **shape)
    rows = list(tensors(config))
    args.target.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(args.tokenizer / name, args.target / name)
    written = config.to_dict() | {"architectures": [AutoModelForCausalLM._model_mapping[type(config)].__name__]}
    if model_type == "gpt_oss":
        written["quantization_config"] = {"quant_method": "mxfp4"}
    (args.target / "config.json").write_text(json.dumps(written, indent=1))

    shards, size = [[]], 0
    for row in rows:
        if size + n_bytes(*row[1:]) > SHARD_BYTES and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append(row)
        size += n_bytes(*row[1:])
    seed = bf16(np.random.default_rng(1).standard_normal(SEED_WEIGHTS, np.float32) * 0.02)
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    offset, index = 0, {}
    for name, shard in zip(names, shards):
        offset = write_shard(args.target / name, shard, seed, offset)
        index.update({row[0]: name for row in shard})
    (args.target / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    print(f"{args.target}: {len(index)} tensors in {len(shards)} files")


if __name__ == "__main__":
    main()
