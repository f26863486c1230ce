"""Families of experts that transformers does not have: see tools/family_references.py."""

import math

import torch
from torch.nn.functional import gelu, linear, silu

from family_references import CONFIG, N_EMBD, attend, attention_shapes, gated_shapes, head, heads, rms_norm
from family_references import rotate_halves
from family_references_more import gated, plain_shapes
from family_shapes import N_VOCAB


def chosen(weights, indices, e):
    """What expert `e` weighs for each token, of `weights` of those in `indices`."""
    return (weights * (indices == e)).sum(-1, keepdim=True)


def attention(tensors, config, layer, y, head_dim):
    """Llama's, of a normed stream."""
    q, k, v = heads(tensors, layer, y, head_dim)
    q, k = (rotate_halves(of, config["rope_theta"]) for of in (q, k))
    return linear(attend(q, k, v), tensors[f"{layer}self_attn.o_proj.weight"])


def arctic(tensors, config, ids):
    eps, head_dim = config["rms_norm_eps"], N_EMBD // config["num_attention_heads"]
    x = tensors["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        norm = lambda x, name: rms_norm(x, tensors[f"{layer}{name}_layernorm.weight"], eps)
        before = x
        x = x + attention(tensors, config, layer, norm(x, "input"), head_dim)
        x = x + gated(tensors, f"{layer}residual_mlp.", norm(x, "residual"), ("w1", "w3", "w2"))
        # The experts see what attention has not changed.
        y = norm(before, "post_attention")
        part = f"{layer}block_sparse_moe."
        weights, best = linear(y, tensors[f"{part}gate.weight"]).softmax(-1).topk(config["num_experts_per_tok"])
        weights = weights / weights.sum(-1, keepdim=True)
        for e in range(config["num_local_experts"]):
            x = x + chosen(weights, best, e) * gated(tensors, f"{part}experts.{e}.", y, ("w1", "w3", "w2"))
    return head(tensors, config, x)


def arctic_shapes(config):
    shapes = plain_shapes(config, N_EMBD // config["num_attention_heads"], has_mlp=False)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        part = f"{layer}block_sparse_moe."
        shapes[f"{layer}residual_layernorm.weight"] = (N_EMBD,)
        shapes |= gated_shapes(f"{layer}residual_mlp.", N_EMBD, N_EMBD, ("w1", "w3", "w2"))
        shapes[f"{part}gate.weight"] = (config["num_local_experts"], N_EMBD)
        for e in range(config["num_local_experts"]):
            shapes |= gated_shapes(f"{part}experts.{e}.", config["intermediate_size"], N_EMBD, ("w1", "w3", "w2"))
    return shapes


ARCTIC = {
    **CONFIG,
    "architectures": ["ArcticForCausalLM"],
    "model_type": "arctic",
    "intermediate_size": 12,
    "moe_layer_frequency": 1,
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "parallel_attn_mlp_res": True,
}


def grovemoe(tensors, config, ids):
    eps, head_dim = config["rms_norm_eps"], config["head_dim"]
    x = tensors["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        y = rms_norm(x, tensors[f"{layer}input_layernorm.weight"], eps)
        q, k, v = heads(tensors, layer, y, head_dim)
        q, k = (
            rotate_halves(rms_norm(of, tensors[f"{layer}self_attn.{name}_norm.weight"], eps), config["rope_theta"])
            for of, name in ((q, "q"), (k, "k"))
        )
        x = x + linear(attend(q, k, v), tensors[f"{layer}self_attn.o_proj.weight"])
        y = rms_norm(x, tensors[f"{layer}post_attention_layernorm.weight"], eps)
        scores = linear(y, tensors[f"{layer}mlp.gate.weight"])
        # Chosen by sigmoids, weighed by probabilities.
        best = scores.sigmoid().topk(config["num_experts_per_tok"]).indices
        weights = scores.softmax(-1).gather(-1, best)
        weights = weights / weights.sum(-1, keepdim=True)
        for e in range(config["num_experts"]):
            weight = chosen(weights, best, e)
            x = x + weight * gated(tensors, f"{layer}mlp.experts.{e}.", y)
            x = x + 0.05 * weight * gated(tensors, f"{layer}mlp.chunk_experts.{e // 2}.", y)
    return head(tensors, config, x)


def grovemoe_shapes(config):
    shapes = plain_shapes(config, config["head_dim"], has_mlp=False)
    n_expert = config["num_experts"]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{name}_norm.weight": (config["head_dim"],) for name in "qk"}
        shapes[f"{layer}mlp.gate.weight"] = (n_expert, N_EMBD)
        for e in range(n_expert):
            shapes |= gated_shapes(f"{layer}mlp.experts.{e}.", config["moe_intermediate_size"], N_EMBD)
        for e in range(n_expert // 2):
            shapes |= gated_shapes(f"{layer}mlp.chunk_experts.{e}.", config["head_dim"], N_EMBD)
    return shapes


GROVEMOE = {
    **CONFIG,
    "architectures": ["GroveMoeForCausalLM"],
    "model_type": "grove_moe",
    "decoder_sparse_step": 1,
    "head_dim": 8,
    "mlp_only_layers": [],
    "moe_intermediate_size": 12,
    "norm_topk_prob": True,
    "num_experts": 6,
    "num_experts_per_tok": 3,
}


def softcap(x, cap):
    return cap * torch.tanh(x / cap) if cap else x


def grok_attend(q, k, v, config):
    """Bounded scores, which rise behind the position of `attn_temperature_len`."""
    n, n_head = q.shape[:2]
    k, v = (x.repeat_interleave(n_head // x.shape[1], 1) for x in (k, v))
    scores = torch.einsum("ihd,jhd->hij", q, k) * config["attn_output_multiplier"]
    scores = softcap(scores, config["attn_logit_softcapping"])
    flat = config.get("attn_temperature_len", 0)
    if flat:
        times = [math.log(i) / math.log(flat) if i > flat else 1.0 for i in range(n)]
        scores = scores * torch.tensor(times, dtype=q.dtype)[:, None]
    hidden = torch.arange(n)[:, None] < torch.arange(n)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return torch.einsum("hij,jhd->ihd", weights, v).flatten(1)


def gelu_gated(tensors, part, x, names):
    gate, up, down = (tensors[f"{part}{name}.weight"] for name in names)
    return linear(gelu(linear(x, gate), approximate="tanh") * linear(x, up), down)


# What Grok 2 and the first port of Grok 1 call things.
GROK_2 = {
    "embed": "model.embed_tokens", "norm": "model.norm", "layer": "model.layers.", "attention": "self_attn.",
    "qkvo": ("q_proj", "k_proj", "v_proj", "o_proj"), "router": "block_sparse_moe.gate",
    "norms": ("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm"),
    "experts": "block_sparse_moe.experts.", "gate_up_down": ("w1", "w3", "w2"),
}
GROK_1 = {
    "embed": "transformer.in_out_embed", "norm": "transformer.rms_norm", "layer": "transformer.decoder_layer.",
    "attention": "multi_head_attention.", "qkvo": ("query", "key", "value", "linear"), "router": "router",
    "norms": ("rms_norm", "rms_norm_1", "rms_norm_2", "rms_norm_3"),
    "experts": "moe.", "gate_up_down": ("linear", "linear_v", "linear_1"),
}  # fmt: skip


def grok_names(config):
    return GROK_2 if config.get("residual_moe") else GROK_1


def grok(tensors, config, ids):
    names, eps, head_dim = grok_names(config), config["rms_norm_eps"], config["head_dim"]
    x = config["embedding_multiplier_scale"] * tensors[f"{names['embed']}.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"{names['layer']}{i}."
        norms = [tensors[f"{layer}{name}.weight"] for name in names["norms"]]
        q, k, v, o = (tensors[f"{layer}{names['attention']}{name}.weight"] for name in names["qkvo"])
        y = rms_norm(x, norms[0], eps)
        q, k, v = (linear(y, of).unflatten(-1, (-1, head_dim)) for of in (q, k, v))
        q, k = (rotate_halves(of, config["rope_theta"]) for of in (q, k))
        x = x + rms_norm(linear(grok_attend(q, k, v, config), o), norms[1], eps)
        y = rms_norm(x, norms[2], eps)
        scores = softcap(linear(y, tensors[f"{layer}{names['router']}.weight"]), config["router_logit_softcapping"])
        weights, best = scores.softmax(-1).topk(config["num_experts_per_tok"])
        z = 0
        for e in range(config["num_local_experts"]):
            part = f"{layer}{names['experts']}{e}."
            z = z + chosen(weights, best, e) * gelu_gated(tensors, part, y, names["gate_up_down"])
        if config.get("residual_moe"):
            dense = gelu_gated(tensors, f"{layer}mlp.", y, ("gate_proj", "up_proj", "down_proj"))
            z = (z + dense) / math.sqrt(2)
        else:
            # Nothing else is added before the norm.
            z = z / weights.sum(-1, keepdim=True)
        x = x + rms_norm(z, norms[3], eps)
    output = tensors.get("lm_head.weight", tensors[f"{names['embed']}.weight"])
    logits = linear(rms_norm(x, tensors[f"{names['norm']}.weight"], eps), output)
    return softcap(logits * config["output_multiplier_scale"], config.get("final_logit_softcapping"))


def grok_shapes(config):
    names, head_dim = grok_names(config), config["head_dim"]
    n_q, n_kv = (head_dim * config[f"num_{name}_heads"] for name in ("attention", "key_value"))
    shapes = {f"{names['embed']}.weight": (N_VOCAB, N_EMBD), f"{names['norm']}.weight": (N_EMBD,)}
    if config.get("residual_moe"):
        shapes["lm_head.weight"] = (N_VOCAB, N_EMBD)
    for i in range(config["num_hidden_layers"]):
        layer = f"{names['layer']}{i}."
        shapes |= {f"{layer}{name}.weight": (N_EMBD,) for name in names["norms"]}
        for name, n in zip(names["qkvo"], (n_q, n_kv, n_kv)):
            shapes[f"{layer}{names['attention']}{name}.weight"] = (n, N_EMBD)
        shapes[f"{layer}{names['attention']}{names['qkvo'][3]}.weight"] = (N_EMBD, n_q)
        shapes[f"{layer}{names['router']}.weight"] = (config["num_local_experts"], N_EMBD)
        for e in range(config["num_local_experts"]):
            n_ff = config.get("moe_intermediate_size", config["intermediate_size"])
            shapes |= gated_shapes(f"{layer}{names['experts']}{e}.", n_ff, N_EMBD, names["gate_up_down"])
        if config.get("residual_moe"):
            shapes |= gated_shapes(f"{layer}mlp.", config["intermediate_size"], N_EMBD)
    return shapes


GROK = {
    **CONFIG,
    "architectures": ["Grok1ForCausalLM"],
    "model_type": "grok-1",
    "attn_logit_softcapping": 5.0,
    "attn_output_multiplier": 0.4,
    "embedding_multiplier_scale": 3.0,
    "final_logit_softcapping": 15.0,
    "head_dim": 8,
    "hidden_act": "gelu",
    "intermediate_size": 12,
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "output_multiplier_scale": 0.6,
    "router_logit_softcapping": 0.0,
    "tie_word_embeddings": True,
}
GROK_2_CONFIG = {
    **GROK,
    "attn_temperature_len": 12,
    "final_logit_softcapping": 0.0,
    "intermediate_size": 20,
    "moe_intermediate_size": 12,
    "original_max_position_embeddings": 16,
    "residual_moe": True,
    "rope_type": "original",
    "router_logit_softcapping": 2.0,
    "scaling_factor": 4.0,
    "tie_word_embeddings": False,
}

REFERENCES = {
    "arctic": (ARCTIC, arctic_shapes(ARCTIC), arctic),
    # Or adjugate experts would hardly matter.
    "grovemoe": (GROVEMOE, grovemoe_shapes(GROVEMOE), grovemoe, {"chunk_experts": 4.0}),
    "grok": (GROK, grok_shapes(GROK), grok),
    "grok-2": (GROK_2_CONFIG, grok_shapes(GROK_2_CONFIG), grok),
}
