"""More families that transformers does not have: see tools/family_references.py."""

import torch
from torch.nn.functional import gelu, layer_norm, linear, relu, silu

from family_references import CONFIG, N_EMBD, TRUNK, attend, attention_shapes, gated_shapes, head, heads
from family_references import rms_norm, rotate_halves
from family_shapes import N_VOCAB


def rotate_pairs(x, theta):
    """Rotary positions of `x: [n, n_head, head_dim]`, elements `2 i` and `2 i + 1` together."""
    n, head_dim = x.shape[0], x.shape[-1]
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=x.dtype) / head_dim)
    angles = torch.arange(n, dtype=x.dtype)[:, None, None] * frequencies
    a, b = x[..., 0::2], x[..., 1::2]
    turned = (a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin())
    return torch.stack(turned, -1).flatten(-2)


def rotate_part(x, theta, n_rot):
    return torch.cat((rotate_halves(x[..., :n_rot], theta), x[..., n_rot:]), -1)


def attend_falling(q, k, v, scale):
    """Causal attention whose scores fall with the distance; a power of two of heads."""
    n, n_head = q.shape[:2]
    k, v = (x.repeat_interleave(n_head // x.shape[1], 1) for x in (k, v))
    slopes = 2.0 ** (-8.0 / n_head * torch.arange(1, n_head + 1, dtype=q.dtype))
    distance = torch.arange(n)[:, None] - torch.arange(n)
    scores = torch.einsum("ihd,jhd->hij", q, k) * scale - slopes[:, None, None] * distance
    weights = scores.masked_fill(distance < 0, float("-inf")).softmax(-1)
    return torch.einsum("hij,jhd->ihd", weights, v).flatten(1)


def plm(tensors, config, ids):
    eps, theta, rank = config["rms_norm_eps"], config["rope_theta"], config["kv_lora_rank"]
    nope, n_rot, n_head = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["num_attention_heads"]
    table = tensors["model.embed_tokens.weight"]
    x = table[ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        of = lambda name: tensors[f"{layer}{name}.weight"]
        y = rms_norm(x, of("input_layernorm"), eps)
        q = linear(y, of("self_attn.q_proj")).unflatten(-1, (n_head, -1))
        q = torch.cat((q[..., :nope], rotate_pairs(q[..., nope:], theta)), -1)
        latent, shared = linear(y, of("self_attn.kv_a_proj_with_mqa")).split((rank, n_rot), -1)
        latent = rms_norm(latent, of("self_attn.kv_a_layernorm"), eps)
        kv = linear(latent, of("self_attn.kv_b_proj")).unflatten(-1, (n_head, -1))
        k = torch.cat((kv[..., :nope], rotate_pairs(shared[:, None], theta).expand(-1, n_head, -1)), -1)
        x = x + linear(attend(q, k, kv[..., nope:]), of("self_attn.o_proj"))
        y = rms_norm(x, of("post_attention_layernorm"), eps)
        x = x + linear(relu(linear(y, of("mlp.up_proj"))) ** 2, of("mlp.down_proj"))
    return linear(rms_norm(x, tensors["model.norm.weight"], eps), table)


def plm_shapes(config):
    n_head, rank = config["num_attention_heads"], config["kv_lora_rank"]
    nope, n_rot, head_dim_v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    shapes = {name: shape for name, shape in TRUNK.items() if name != "lm_head.weight"}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}{name}_layernorm.weight": (N_EMBD,) for name in ("input", "post_attention")}
        shapes[f"{layer}self_attn.q_proj.weight"] = (n_head * (nope + n_rot), N_EMBD)
        shapes[f"{layer}self_attn.kv_a_proj_with_mqa.weight"] = (rank + n_rot, N_EMBD)
        shapes[f"{layer}self_attn.kv_a_layernorm.weight"] = (rank,)
        shapes[f"{layer}self_attn.kv_b_proj.weight"] = (n_head * (nope + head_dim_v), rank)
        shapes[f"{layer}self_attn.o_proj.weight"] = (N_EMBD, n_head * head_dim_v)
        shapes[f"{layer}mlp.up_proj.weight"] = (config["intermediate_size"], N_EMBD)
        shapes[f"{layer}mlp.down_proj.weight"] = (N_EMBD, config["intermediate_size"])
    return shapes


PLM = {
    **CONFIG,
    "architectures": ["PLMForCausalLM"],
    "model_type": "plm",
    "hidden_act": "relu2",
    "attention_bias": False,
    "kv_lora_rank": 16,
    "num_key_value_heads": 4,
    "q_lora_rank": None,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "tie_word_embeddings": True,
    "v_head_dim": 12,
}


def refact(tensors, config, ids):
    eps, head_dim = config["layer_norm_epsilon"], config["n_embd"] // config["n_head"]
    x = tensors["transformer.wte.weight"][ids]
    for i in range(config["n_layer"]):
        of = lambda name: tensors[f"transformer.h.{i}.{name}.weight"]
        y = rms_norm(x, of("ln_1"), eps)
        q = linear(y, of("attn.q")).unflatten(-1, (-1, head_dim))
        k, v = (part[:, None] for part in linear(y, of("attn.kv")).chunk(2, -1))
        x = x + linear(attend_falling(q, k, v, head_dim**-0.5), of("attn.c_proj"))
        gate, up = linear(rms_norm(x, of("ln_2"), eps), of("mlp.gate_up_proj")).chunk(2, -1)
        x = x + linear(silu(gate) * up, of("mlp.c_proj"))
    return linear(rms_norm(x, tensors["transformer.ln_f.weight"], eps), tensors["lm_head.weight"])


def refact_shapes(config):
    n_embd, head_dim, n_ff = config["n_embd"], config["n_embd"] // config["n_head"], 256
    shapes = {"transformer.wte.weight": (N_VOCAB, n_embd), "transformer.ln_f.weight": (n_embd,)}
    shapes["lm_head.weight"] = (N_VOCAB, n_embd)
    for i in range(config["n_layer"]):
        of_layer = {"ln_1": (n_embd,), "attn.q": (n_embd, n_embd), "attn.kv": (2 * head_dim, n_embd)}
        of_layer |= {"attn.c_proj": (n_embd, n_embd), "ln_2": (n_embd,)}
        of_layer |= {"mlp.gate_up_proj": (2 * n_ff, n_embd), "mlp.c_proj": (n_embd, n_ff)}
        shapes |= {f"transformer.h.{i}.{name}.weight": shape for name, shape in of_layer.items()}
    return shapes


REFACT = {
    "architectures": ["GPTRefactForCausalLM"],
    "model_type": "gpt_refact",
    "layer_norm_epsilon": 0.01,
    "multi_query": True,
    "n_embd": 24,
    "n_head": 4,
    "n_layer": 2,
    "n_positions": 64,
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
}


def jais(tensors, config, ids):
    head_dim = config["n_embd"] // config["n_head"]
    norm = lambda x, name: layer_norm(
        x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], config["layer_norm_epsilon"]
    )
    turned = lambda x, name: x @ tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
    x = tensors["transformer.wte.weight"][ids] * config["mup_embeddings_scale"]
    for i in range(config["n_layer"]):
        layer = f"transformer.h.{i}."
        q, k, v = turned(norm(x, f"{layer}ln_1"), f"{layer}attn.c_attn").chunk(3, -1)
        q, k, v = (y.unflatten(-1, (-1, head_dim)) for y in (q, k, v))
        x = x + turned(attend_falling(q, k, v, 1.0 / head_dim), f"{layer}attn.c_proj")
        y = norm(x, f"{layer}ln_2")
        y = turned(y, f"{layer}mlp.c_fc") * silu(turned(y, f"{layer}mlp.c_fc2"))
        x = x + turned(y, f"{layer}mlp.c_proj")
    logits = linear(norm(x, "transformer.ln_f"), tensors["transformer.wte.weight"])
    return logits * config["mup_output_alpha"] * config["mup_width_scale"]


def jais_shapes(config):
    n_embd, n_ff = config["n_embd"], config["n_inner"]
    shapes = {"transformer.wte.weight": (N_VOCAB, n_embd)}
    norms, matrices = ["transformer.ln_f"], {}
    for i in range(config["n_layer"]):
        layer = f"transformer.h.{i}."
        norms += [f"{layer}ln_1", f"{layer}ln_2"]
        matrices |= {f"{layer}attn.c_attn": (n_embd, 3 * n_embd), f"{layer}attn.c_proj": (n_embd, n_embd)}
        matrices |= {f"{layer}mlp.{name}": (n_embd, n_ff) for name in ("c_fc", "c_fc2")}
        matrices[f"{layer}mlp.c_proj"] = (n_ff, n_embd)
    for name in norms:
        shapes |= {f"{name}.weight": (n_embd,), f"{name}.bias": (n_embd,)}
    for name, shape in matrices.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[1:]}
    return shapes


JAIS = {
    "architectures": ["JAISLMHeadModel"],
    "model_type": "jais",
    "activation_function": "swiglu",
    "layer_norm_epsilon": 0.01,
    "mup_embeddings_scale": 1.7,
    "mup_output_alpha": 1.3,
    "mup_scale_qk_dot_by_d": True,
    "mup_width_scale": 0.4,
    "n_embd": 32,
    "n_head": 4,
    "n_inner": 40,
    "n_layer": 2,
    "n_positions": 64,
    "position_embedding_type": "alibi",
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
}


def plamo(tensors, config, ids):
    eps, theta, n_shared = config["rms_norm_eps"], config["rope_theta"], config["n_shared_head"]
    x = tensors["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.layers.{i}."
        y = rms_norm(x, tensors[f"{layer}norm.weight"], eps)
        q, k, v = heads(tensors, layer, y, N_EMBD // config["num_attention_heads"])
        q, k = rotate_halves(q, theta), rotate_halves(k, theta)
        # Heads that share keys are as many apart as there are keys.
        k, v = k.repeat(1, n_shared, 1), v.repeat(1, n_shared, 1)
        x = x + linear(attend(q, k, v), tensors[f"{layer}self_attn.o_proj.weight"])
        gate, up, down = (tensors[f"{layer}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        x = x + linear(silu(linear(y, gate)) * linear(y, up), down)
    return head(tensors, config, x)


def plamo_shapes(config):
    shapes, n_head = dict(TRUNK), config["num_attention_heads"]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.layers.{i}."
        shapes[f"{layer}norm.weight"] = (N_EMBD,)
        shapes |= attention_shapes(layer, n_head, n_head // config["n_shared_head"], N_EMBD // n_head, N_EMBD)
        shapes |= gated_shapes(f"{layer}mlp.", config["intermediate_size"], N_EMBD)
    return shapes


PLAMO = {
    **{key: value for key, value in CONFIG.items() if key != "max_position_embeddings"},
    "architectures": ["PlamoForCausalLM"],
    "model_type": "plamo",
    "n_shared_head": 2,
    "num_key_value_heads": 4,
}


def plamo3(tensors, config, ids):
    eps, head_dim = config["rms_norm_eps"], config["head_dim"]
    n_head, n_head_kv = config["num_attention_heads"], config["num_key_value_heads"]
    table = tensors["model.embed_tokens.weight"]
    x = table[ids]
    for i in range(config["num_hidden_layers"]):
        of = lambda name: tensors[f"model.layers.layers.{i}.{name}.weight"]
        is_full = (i + 1) % config["sliding_window_pattern"] == 0
        theta = config["rope_theta"] if is_full else config["rope_local_theta"]
        y = linear(rms_norm(x, of("pre_mixer_norm") + 1.0, eps), of("mixer.qkv_proj"))
        q, k, v = y.unflatten(-1, (-1, head_dim)).split((n_head, n_head_kv, n_head_kv), 1)
        q = rotate_halves(rms_norm(q, of("mixer.q_norm") + 1.0, eps), theta)
        k = rotate_halves(rms_norm(k, of("mixer.k_norm") + 1.0, eps), theta)
        y = linear(attend(q, k, v, None if is_full else config["window_size"]), of("mixer.o_proj"))
        x = x + rms_norm(y, of("post_mixer_norm") + 1.0 / 5, eps)
        gate, up = linear(rms_norm(x, of("pre_mlp_norm") + 1.0, eps), of("mlp.gate_up_proj")).chunk(2, -1)
        x = x + rms_norm(linear(silu(gate) * up, of("mlp.down_proj")), of("post_mlp_norm") + 1.0 / 5**1.5, eps)
    return linear(rms_norm(x, tensors["model.norm.weight"] + 1.0, eps), table)


def plamo3_shapes(config):
    head_dim, n_ff = config["head_dim"], config["intermediate_size"]
    n_head, n_head_kv = config["num_attention_heads"], config["num_key_value_heads"]
    shapes = {name: shape for name, shape in TRUNK.items() if name != "lm_head.weight"}
    for i in range(config["num_hidden_layers"]):
        norms = dict.fromkeys(("pre_mixer_norm", "post_mixer_norm", "pre_mlp_norm", "post_mlp_norm"), (N_EMBD,))
        norms |= dict.fromkeys(("mixer.q_norm", "mixer.k_norm"), (head_dim,))
        of_layer = {"mixer.qkv_proj": ((n_head + 2 * n_head_kv) * head_dim, N_EMBD)}
        of_layer |= {"mixer.o_proj": (N_EMBD, n_head * head_dim), "mlp.gate_up_proj": (2 * n_ff, N_EMBD)}
        of_layer |= {"mlp.down_proj": (N_EMBD, n_ff), **norms}
        shapes |= {f"model.layers.layers.{i}.{name}.weight": shape for name, shape in of_layer.items()}
    return shapes


PLAMO3 = {
    **CONFIG,
    "architectures": ["Plamo3ForCausalLM"],
    "model_type": "plamo3",
    "head_dim": 16,
    "num_hidden_layers": 3,
    "intermediate_size": 24,
    "rope_local_theta": 100.0,
    "rope_theta": 2000.0,
    "sliding_window_pattern": 2,
    "tie_word_embeddings": True,
    "window_size": 8,
}


def spark2_5(tensors, config, ids):
    eps, head_dim = config["rms_norm_eps"], config["head_dim"]
    n_head, n_head_kv = config["num_attention_heads"], config["num_key_value_heads"]
    x = tensors["model.embed_tokens.weight"][ids]
    for i, kind in enumerate(config["layer_types"]):
        of = lambda name: tensors[f"model.layers.{i}.{name}.weight"]
        rope = config["rope_parameters"][kind]
        n_rot = int(head_dim * rope["partial_rotary_factor"])
        y = rms_norm(x, of("input_layernorm"), eps)
        q, k, v = (
            linear(y, of("self_attn.q_k_v_proj"))
            .unflatten(-1, (-1, head_dim))
            .split((n_head, n_head_kv, n_head_kv), 1)
        )
        q, k = (rotate_part(of_heads, rope["rope_theta"], n_rot) for of_heads in (q, k))
        window = config["sliding_window"] if kind == "sliding_attention" else None
        gates = linear(y, of("self_attn.g_proj")).sigmoid()
        z = attend(q, k, v, window).unflatten(-1, (n_head, head_dim)) * gates[..., None]
        x = x + linear(z.flatten(1), of("self_attn.o_proj"))
        y = rms_norm(x, of("post_attention_layernorm"), eps)
        x = x + linear(gelu(linear(y, of("mlp.gate_proj"))) * linear(y, of("mlp.up_proj")), of("mlp.down_proj"))
    return head(tensors, config, x)


def spark2_5_shapes(config):
    head_dim, n_head = config["head_dim"], config["num_attention_heads"]
    shapes = dict(TRUNK)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}{name}_layernorm.weight": (N_EMBD,) for name in ("input", "post_attention")}
        n_rows = (n_head + 2 * config["num_key_value_heads"]) * head_dim
        shapes[f"{layer}self_attn.q_k_v_proj.weight"] = (n_rows, N_EMBD)
        shapes[f"{layer}self_attn.g_proj.weight"] = (n_head, N_EMBD)
        shapes[f"{layer}self_attn.o_proj.weight"] = (N_EMBD, n_head * head_dim)
        shapes |= gated_shapes(f"{layer}mlp.", config["intermediate_size"], N_EMBD)
    return shapes


SPARK2_5 = {
    **{key: value for key, value in CONFIG.items() if key != "rope_theta"},
    "architectures": ["Spark2_5ForCausalLM"],
    "model_type": "spark2_5",
    "gate_attn_act_mode": "sigmoid",
    "head_dim": 16,
    "headwise_attn_output_gate": True,
    "hidden_act": "gelu",
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 2000.0, "partial_rotary_factor": 0.5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 1.0},
    },
    "sliding_window": 8,
}

REFERENCES = {
    "plm": (PLM, plm_shapes(PLM), plm),
    "refact": (REFACT, refact_shapes(REFACT), refact),
    "jais": (JAIS, jais_shapes(JAIS), jais),
    "plamo": (PLAMO, plamo_shapes(PLAMO), plamo),
    "plamo3": (PLAMO3, plamo3_shapes(PLAMO3), plamo3),
    "spark2_5": (SPARK2_5, spark2_5_shapes(SPARK2_5), spark2_5),
}
