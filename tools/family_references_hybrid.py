"""PLaMo 2, and MPT with learned positions, which transformers does not have: see tools/family_references.py."""

import torch
from torch.nn.functional import gelu, layer_norm, linear, silu, softplus

from family_references import CONFIG, N_EMBD, attend, rms_norm, rotate_halves
from family_shapes import N_VOCAB


def is_mamba(config, i):
    n_layer, period = config["num_hidden_layers"], config["mamba_step"]
    return i != n_layer - 1 if n_layer <= period // 2 else i % period != period // 2


def rank(config):
    """The width that time steps are made from."""
    return max(64, config["hidden_size"] // 16)


def convolved(x, weight):
    """A causal convolution of each channel of `x: [n, n_channels]`, with `weight: [n_channels, 1, n_taps]`."""
    taps = weight.shape[-1]
    padded = torch.cat((x.new_zeros(taps - 1, x.shape[1]), x))
    return sum(padded[j : j + len(x)] * weight[:, 0, j] for j in range(taps))


def mamba(config, of, x):
    head_dim, n_state, eps = config["hidden_size_per_head"], config["mamba_d_state"], config["rms_norm_eps"]
    z, x = linear(x, of("in_proj.weight")).unflatten(-1, (-1, 2 * head_dim)).chunk(2, -1)
    x = silu(convolved(x.flatten(1), of("conv1d.weight")))
    written, read, steps = linear(x, of("bcdt_proj.weight")).split((n_state, n_state, rank(config)), -1)
    written = rms_norm(written, of("B_norm_weight"), eps)
    read = rms_norm(read, of("C_norm_weight"), eps)
    steps = linear(rms_norm(steps, of("dt_norm_weight"), eps), of("dt_proj.weight"))
    steps = softplus(steps + of("dt_bias"))
    x = x.unflatten(-1, (-1, head_dim))
    state, outputs = x.new_zeros(x.shape[1], head_dim, n_state), []
    for t in range(len(x)):
        decay = torch.exp(-torch.exp(of("A_log")) * steps[t])
        added = (steps[t][:, None] * x[t])[..., None] * written[t]
        state = decay[:, None, None] * state + added
        outputs.append(state @ read[t] + of("D")[:, None] * x[t])
    return linear((torch.stack(outputs) * silu(z)).flatten(1), of("out_proj.weight"))


def attention(config, of, x):
    head_dim, theta, eps = config["hidden_size_per_head"], config["rope_theta"], config["rms_norm_eps"]
    n_head, n_head_kv = config["num_attention_heads"], config["num_key_value_heads"]
    heads = linear(x, of("qkv_proj.weight")).unflatten(-1, (-1, head_dim))
    q, k, v = heads.split((n_head, n_head_kv, n_head_kv), 1)
    q = rotate_halves(rms_norm(q, of("q_weight"), eps), theta)
    k = rotate_halves(rms_norm(k, of("k_weight"), eps), theta)
    return linear(attend(q, k, v), of("o_proj.weight"))


def plamo2(tensors, config, ids):
    eps, table = config["rms_norm_eps"], tensors["model.embed_tokens.weight"]
    x = table[ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.layers.{i}."
        norm = lambda x, name, offset: rms_norm(x, tensors[f"{layer}{name}_norm.weight"] + offset, eps)
        mixer = mamba if is_mamba(config, i) else attention
        y = mixer(config, lambda name: tensors[f"{layer}mixer.{name}"], norm(x, "pre_mixer", 1.0))
        x = x + norm(y, "post_mixer", 1.0 / 5)
        gate, up = linear(norm(x, "pre_mlp", 1.0), tensors[f"{layer}mlp.gate_up_proj.weight"]).chunk(2, -1)
        y = linear(silu(gate) * up, tensors[f"{layer}mlp.down_proj.weight"])
        x = x + norm(y, "post_mlp", 1.0 / 5**1.5)
    return linear(rms_norm(x, tensors["model.norm.weight"] + 1.0, eps), table)


def plamo2_shapes(config):
    head_dim, n_ff, n_state = (config[key] for key in ("hidden_size_per_head", "intermediate_size", "mamba_d_state"))
    n_head, n_head_kv = config["num_attention_heads"], config["num_key_value_heads"]
    n_mamba = config["mamba_num_heads"]
    n_inner = n_mamba * head_dim
    shapes = {"model.embed_tokens.weight": (N_VOCAB, N_EMBD), "model.norm.weight": (N_EMBD,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.layers.{i}."
        shapes |= {f"{layer}{when}_{what}_norm.weight": (N_EMBD,) for when in ("pre", "post") for what in ("mixer", "mlp")}
        shapes |= {f"{layer}mlp.gate_up_proj.weight": (2 * n_ff, N_EMBD), f"{layer}mlp.down_proj.weight": (N_EMBD, n_ff)}
        mixer = {
            "in_proj.weight": (2 * n_inner, N_EMBD), "conv1d.weight": (n_inner, 1, config["mamba_d_conv"]),
            "bcdt_proj.weight": (rank(config) + 2 * n_state, n_inner), "dt_proj.weight": (n_mamba, rank(config)),
            "dt_bias": (n_mamba,), "A_log": (n_mamba,), "D": (n_mamba,), "dt_norm_weight": (rank(config),),
            "B_norm_weight": (n_state,), "C_norm_weight": (n_state,), "out_proj.weight": (N_EMBD, n_inner),
        } if is_mamba(config, i) else {
            "qkv_proj.weight": ((n_head + 2 * n_head_kv) * head_dim, N_EMBD), "o_proj.weight": (N_EMBD, n_head * head_dim),
            "q_weight": (n_head, head_dim), "k_weight": (n_head_kv, head_dim),
        }  # fmt: skip
        shapes |= {f"{layer}mixer.{name}": shape for name, shape in mixer.items()}
    return shapes


PLAMO2 = {
    **CONFIG,
    "architectures": ["Plamo2ForCausalLM"],
    "model_type": "plamo2",
    "attention_window_size": 64,
    "full_attention_idx": None,
    "hidden_size_per_head": 8,
    "intermediate_size": 24,
    "mamba_chunk_size": 256,
    "mamba_d_conv": 4,
    "mamba_d_state": 8,
    "mamba_enabled": True,
    "mamba_num_heads": 4,
    "mamba_step": 2,
    "num_hidden_layers": 3,
    "tie_word_embeddings": True,
}


def mpt(tensors, config, ids):
    n_embd, eps = config["d_model"], config["layer_norm_epsilon"]
    norm = lambda x, name: layer_norm(x, (n_embd,), tensors[f"transformer.{name}.weight"], eps=eps)
    table = tensors["transformer.wte.weight"]
    x = table[ids] + tensors["transformer.wpe.weight"][: len(ids)]
    for i in range(config["n_layers"]):
        of = lambda name: tensors[f"transformer.blocks.{i}.{name}.weight"]
        heads = linear(norm(x, f"blocks.{i}.norm_1"), of("attn.Wqkv"))
        q, k, v = (y.unflatten(-1, (config["n_heads"], -1)) for y in heads.chunk(3, -1))
        x = x + linear(attend(q, k, v), of("attn.out_proj"))
        x = x + linear(gelu(linear(norm(x, f"blocks.{i}.norm_2"), of("ffn.up_proj"))), of("ffn.down_proj"))
    return linear(norm(x, "norm_f"), table)


def mpt_shapes(config):
    n_embd, n_ff = config["d_model"], config["d_model"] * config["expansion_ratio"]
    shapes = {f"transformer.{name}.weight": (n, n_embd) for name, n in (("wte", N_VOCAB), ("wpe", config["max_seq_len"]))}
    shapes["transformer.norm_f.weight"] = (n_embd,)
    for i in range(config["n_layers"]):
        layer = f"transformer.blocks.{i}."
        shapes |= {f"{layer}norm_{n}.weight": (n_embd,) for n in (1, 2)}
        shapes |= {f"{layer}attn.Wqkv.weight": (3 * n_embd, n_embd), f"{layer}attn.out_proj.weight": (n_embd, n_embd)}
        shapes |= {f"{layer}ffn.up_proj.weight": (n_ff, n_embd), f"{layer}ffn.down_proj.weight": (n_embd, n_ff)}
    return shapes


MPT = {
    "architectures": ["MPTForCausalLM"],
    "model_type": "mpt",
    "attn_config": {"alibi": False, "clip_qkv": None, "qk_ln": False, "softmax_scale": None},
    "d_model": N_EMBD,
    "expansion_ratio": 2,
    "layer_norm_epsilon": 0.01,
    "learned_pos_emb": True,
    "max_seq_len": 64,
    "n_heads": 4,
    "n_layers": 2,
    "no_bias": True,
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
}

REFERENCES = {
    "mpt-positions": (MPT, mpt_shapes(MPT), mpt),
    "plamo2": (PLAMO2, plamo2_shapes(PLAMO2), plamo2),
}
