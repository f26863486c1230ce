#!/usr/bin/env python3
"""Options of configurations: does a model that differs from the usual one of its family compute what transformers computes?

Makes tiny random models of transformers' own classes with options that published models seldom have (biases, tied or
untied heads, windows, partial rotary positions, layers of other kinds, routers), saves them as transformers does, converts
each to F32 by gguf-convert and compares logits. Prints a line for each: the error relative to the greatest logit, or what
was refused or warned of. Both are right where a GGUF file of that architecture cannot say it; another logit without a
word never is: then it fails.

    python tools/peer/options.py --gguf-run target/release/gguf-run --gguf-convert target/release/gguf-convert [PART_OF_A_NAME...]

Needs numpy, torch and transformers.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "fixtures/families/tokenizer"
N_VOCAB, N_IDS = 264, 40
# In 32 bits transformers itself is as far from what it computes in 64, for delta-nets.
TOLERANCE = 5e-4
BASE = dict(
    vocab_size=N_VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, pad_token_id=None, bos_token_id=262, eos_token_id=263,
)
MOE = dict(num_experts=4, num_local_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
WINDOWS = dict(sliding_window=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"])


def rope(**more):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0) | more)


YARN = rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
LINEAR = rope(rope_type="linear", factor=4.0)
LLAMA3 = rope(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
# Types whose configurations know no heads of keys and values.
HEADS_ALIKE = ("bloom", "gpt2", "gpt_neox", "gptj", "mpt")
# Model type of transformers: options beside those above.
OPTIONS = {
    "llama": [
        {}, dict(attention_bias=True), dict(mlp_bias=True), dict(tie_word_embeddings=True), dict(head_dim=16), YARN, LINEAR, LLAMA3,
        rope(rope_type="dynamic", factor=2.0), rope(partial_rotary_factor=0.5), dict(num_key_value_heads=1),
    ],
    "mistral": [{}, dict(sliding_window=8), dict(head_dim=16), YARN],
    "ministral": [dict(head_dim=8), dict(head_dim=8, **WINDOWS)],
    "ministral3": [{}],
    "mixtral": [MOE, MOE | dict(sliding_window=8), MOE | dict(tie_word_embeddings=True), MOE | dict(head_dim=16)],
    "qwen2": [{}, dict(tie_word_embeddings=True), YARN, dict(use_sliding_window=True, **WINDOWS), dict(head_dim=16)],
    "qwen2_moe": [
        MOE | dict(shared_expert_intermediate_size=24), MOE | dict(shared_expert_intermediate_size=24, norm_topk_prob=True),
        MOE | dict(shared_expert_intermediate_size=24, mlp_only_layers=[1]),
        MOE | dict(shared_expert_intermediate_size=24, decoder_sparse_step=2), MOE | dict(shared_expert_intermediate_size=24, qkv_bias=False),
    ],
    "qwen3": [{}, dict(attention_bias=True), dict(tie_word_embeddings=True), YARN, dict(head_dim=16), dict(use_sliding_window=True, **WINDOWS)],
    "qwen3_moe": [
        MOE, MOE | dict(norm_topk_prob=True), MOE | dict(mlp_only_layers=[0]), MOE | dict(decoder_sparse_step=2),
        MOE | dict(attention_bias=True), MOE | YARN,
    ],
    "qwen3_next": [MOE | dict(shared_expert_intermediate_size=24, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8, head_dim=16)],
    "gemma": [{}, dict(tie_word_embeddings=False), dict(attention_bias=True), dict(head_dim=16)],
    "gemma2": [{}, dict(final_logit_softcapping=None), dict(attn_logit_softcapping=None), dict(query_pre_attn_scalar=32), dict(attention_bias=True)],
    "gemma3_text": [{}, WINDOWS, dict(tie_word_embeddings=False), dict(attention_bias=True), dict(final_logit_softcapping=20.0)],
    "phi": [{}, dict(qk_layernorm=True), rope(partial_rotary_factor=0.25), dict(tie_word_embeddings=True)],
    "phi3": [{}, dict(sliding_window=8), rope(partial_rotary_factor=0.75), dict(tie_word_embeddings=True)],
    "phimoe": [MOE, MOE | dict(attention_bias=True), MOE | dict(lm_head_bias=True)],
    "granite": [{}, dict(attention_bias=True), dict(mlp_bias=True), dict(tie_word_embeddings=False, logits_scaling=4.0)],
    "granitemoe": [MOE, MOE | dict(attention_bias=True)],
    "granitemoeshared": [MOE | dict(shared_intermediate_size=24), MOE | dict(shared_intermediate_size=0)],
    "olmo": [{}, dict(clip_qkv=0.5), dict(attention_bias=True)],
    "olmo2": [{}, dict(attention_bias=True), YARN],
    "olmo3": [{}, WINDOWS],
    "olmoe": [MOE, MOE | dict(norm_topk_prob=True), MOE | dict(clip_qkv=0.5), MOE | dict(attention_bias=True)],
    "cohere": [{}, dict(use_qk_norm=True), dict(attention_bias=True), dict(logit_scale=0.5), dict(tie_word_embeddings=False)],
    "cohere2": [{}, WINDOWS, dict(attention_bias=True)],
    "stablelm": [{}, dict(qk_layernorm=True), dict(use_parallel_residual=True), dict(use_qkv_bias=True), rope(partial_rotary_factor=0.5)],
    "starcoder2": [{}, dict(sliding_window=8), dict(use_bias=False), dict(tie_word_embeddings=False)],
    "gpt_neox": [{}, dict(use_parallel_residual=False), dict(attention_bias=False), dict(tie_word_embeddings=True), rope(partial_rotary_factor=0.5)],
    "gptj": [dict(n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=64)],
    "gpt2": [dict(n_embd=32, n_layer=2, n_head=4, n_positions=64), dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, scale_attn_by_inverse_layer_idx=True), dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, tie_word_embeddings=False)],
    "falcon": [
        {}, dict(new_decoder_architecture=True, num_kv_heads=2), dict(multi_query=False), dict(parallel_attn=False), dict(bias=True),
        dict(alibi=True), dict(multi_query=False, bias=True), dict(new_decoder_architecture=True, num_kv_heads=2, bias=True), dict(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1),
    ],
    "bloom": [dict(n_layer=2, n_head=4), dict(n_layer=2, n_head=4, apply_residual_connection_post_layernorm=True)],
    "mpt": [dict(d_model=32, n_heads=4, n_layers=2, max_seq_len=64), dict(d_model=32, n_heads=4, n_layers=2, max_seq_len=64, attn_config=dict(alibi=False))],
    "glm": [{}, dict(attention_bias=True), dict(tie_word_embeddings=True)],
    "glm4": [{}, dict(attention_bias=True), rope(partial_rotary_factor=0.25)],
    "glm4_moe": [MOE | dict(n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1, head_dim=16), MOE | dict(n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1, head_dim=16, use_qk_norm=True, attention_bias=True)],
    "deepseek_v2": [MOE | dict(n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1, q_lora_rank=q, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8, num_key_value_heads=4, n_group=1, topk_group=1) for q in (None, 16)],
    "deepseek_v3": [MOE | dict(n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1, q_lora_rank=q, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8, num_key_value_heads=4, n_group=2, topk_group=1, **more) for q, more in ((None, {}), (16, YARN), (16, dict(attention_bias=True)))],
    "exaone4": [{}, WINDOWS],
    "ernie4_5": [{}, dict(use_bias=True), dict(tie_word_embeddings=False)],
    "ernie4_5_moe": [MOE | dict(moe_num_experts=4, moe_k=2, moe_num_shared_experts=1), MOE | dict(moe_num_experts=4, moe_k=2, moe_num_shared_experts=1, use_bias=True)],
    "hunyuan_v1_dense": [dict(head_dim=8), dict(head_dim=8, attention_bias=True)],
    "seed_oss": [{}, dict(attention_out_bias=True), dict(attention_bias=False)],
    "smollm3": [{}, dict(no_rope_layers=[1, 0, 1]), dict(attention_bias=True)],
    "nemotron": [{}, dict(attention_bias=True), dict(mlp_bias=True)],
    "arcee": [{}, dict(attention_bias=True), dict(mlp_bias=True)],
    "helium": [dict(head_dim=8)],
    "dots1": [MOE | dict(n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1)],
    "lfm2": [dict(layer_types=["conv", "full_attention", "conv"]), dict(layer_types=["conv", "full_attention", "conv"], conv_bias=True)],
    "minimax_m2": [MOE | dict(head_dim=8), ],
    "gpt_oss": [MOE | dict(head_dim=8, **WINDOWS), MOE | dict(head_dim=8, attention_bias=False, **WINDOWS)],
    "mamba": [dict(state_size=8), dict(state_size=8, use_bias=True), dict(state_size=8, use_conv_bias=False), dict(state_size=8, tie_word_embeddings=False)],
    "mamba2": [dict(state_size=8, num_heads=8, head_dim=8, n_groups=2), dict(state_size=8, num_heads=8, head_dim=8, n_groups=2, use_bias=True)],
    "falcon_h1": [dict(mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=8, head_dim=8), dict(mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=8, head_dim=8, mamba_rms_norm=True, attention_bias=True, mlp_bias=True)],
    "jamba": [MOE | dict(mamba_d_state=8, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1, use_mamba_kernels=False)],
}


def make(model_type, options, folder):
    """Saves a random model; returns the logits of its text."""
    torch.manual_seed(1)
    base = BASE if model_type not in HEADS_ALIKE else {key: value for key, value in BASE.items() if key != "num_key_value_heads"}
    config = CONFIG_MAPPING[model_type](**(base | options))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point() and "inv_freq" not in name and not name.endswith("A_log"):
            noise = torch.randn(tensor.shape)
            if tensor.ndim < 2:
                tensor.data = tensor.detach() + 0.2 * noise
            else:
                tensor.data = noise * (1.0 if "embed" in name or "wte" in name else 1.5 * tensor.shape[-1] ** -0.5)
    model.tie_weights()
    model.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ids = [(7 * i * i + 3 * i) % (N_VOCAB - 8) + 3 for i in range(N_IDS)]
    (folder / "ids.txt").write_text(" ".join(map(str, ids)))
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()


def last_line(done):
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")] or done.stderr.splitlines()[-1:]
    return lines[0] if lines else f"exit status {done.returncode}"


def compare(args, model_type, options, work):
    """What there is to say of a model, and whether it is wrong."""
    folder, gguf, out = work / "model", work / "model.gguf", work / "logits.npy"
    try:
        theirs = make(model_type, options, folder)
    except Exception as error:
        return f"transformers: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", False
    shutil.copytree(TOKENIZER, folder, dirs_exist_ok=True)
    commands = [
        [args.gguf_convert, folder, "--type", "F32", "-o", gguf],
        [args.gguf_run, "logits", gguf, "--ids", folder / "ids.txt", "-o", out, "--quiet", "--kv-type", "f32"],
    ]
    warnings = ""
    for command in commands:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode != 0:
            return last_line(done).replace(str(folder) + "/", "").replace(str(folder), model_type), False
        warnings += "".join(f"; {line}" for line in done.stderr.splitlines() if line.startswith("warning: "))
    error = float(np.abs(np.load(out) - theirs).max() / np.abs(theirs).max())
    if error <= TOLERANCE:
        return f"{error:.1e}", False
    # What a file cannot carry is told.
    return f"{error:.1e}{warnings or ' WRONG'}", not warnings


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gguf-run", type=pathlib.Path, default=ROOT / "target/release/gguf-run")
    parser.add_argument("--gguf-convert", type=pathlib.Path, default=ROOT / "target/release/gguf-convert")
    parser.add_argument("parts", nargs="*", help="parts of model types; all unless given")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    wrong = []
    for model_type, variants in OPTIONS.items():
        if args.parts and not any(part in model_type for part in args.parts):
            continue
        for options in variants:
            shown = {key: value for key, value in options.items() if key not in MOE or options.get(key) != MOE[key]}
            with tempfile.TemporaryDirectory() as work:
                said, is_wrong = compare(args, model_type, options, pathlib.Path(work))
            print(f"{model_type} {shown or ''}: {said}", flush=True)
            if is_wrong:
                wrong.append(f"{model_type} {shown}")
    if wrong:
        sys.exit("wrong:\n" + "\n".join(wrong))


main()
