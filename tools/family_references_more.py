"""Still more families that transformers does not have: see tools/family_references.py."""

import torch
from torch.nn.functional import linear, silu

from family_references import CONFIG, N_EMBD, TRUNK, attend, attention_shapes, gated_shapes, head, heads
from family_references import rms_norm, rotate_halves
from family_shapes import N_VOCAB


def gated(tensors, part, x, names=("gate_proj", "up_proj", "down_proj")):
    gate, up, down = (tensors[f"{part}{name}.weight"] for name in names)
    return linear(silu(linear(x, gate)) * linear(x, up), down)


def nanbeige(tensors, config, ids):
    eps, head_dim = config["rms_norm_eps"], N_EMBD // config["num_attention_heads"]
    x = tensors["model.embed_tokens.weight"][ids]
    for loop in range(config["num_loops"]):
        if loop > 0 and not config["skip_loop_final_norm"]:
            x = rms_norm(x, tensors["model.norm.weight"], eps)
        for i in range(config["num_hidden_layers"]):
            layer = f"model.layers.{i}."
            y = rms_norm(x, tensors[f"{layer}input_layernorm.weight"], eps)
            q, k, v = heads(tensors, layer, y, head_dim)
            q, k = (rotate_halves(of, config["rope_theta"]) for of in (q, k))
            x = x + linear(attend(q, k, v), tensors[f"{layer}self_attn.o_proj.weight"])
            y = rms_norm(x, tensors[f"{layer}post_attention_layernorm.weight"], eps)
            x = x + gated(tensors, f"{layer}mlp.", y)
    return head(tensors, config, x)


def plain_shapes(config, head_dim, has_mlp=True):
    shapes = dict(TRUNK)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}{name}_layernorm.weight": (N_EMBD,) for name in ("input", "post_attention")}
        n_head, n_head_kv = config["num_attention_heads"], config["num_key_value_heads"]
        shapes |= attention_shapes(layer, n_head, n_head_kv, head_dim, N_EMBD)
        if has_mlp:
            shapes |= gated_shapes(f"{layer}mlp.", config["intermediate_size"], N_EMBD)
    return shapes


NANBEIGE = {
    **CONFIG,
    "architectures": ["NanbeigeForCausalLM"],
    "model_type": "nanbeige",
    "num_loops": 2,
    "skip_loop_final_norm": False,
}


def maple(tensors, config, ids):
    eps, head_dim, limit = config["rms_norm_eps"], config["head_dim"], 7.0
    x = tensors["model.embed_tokens.weight"][ids]
    for i, kind in enumerate(config["layer_types"]):
        layer = f"model.layers.{i}."
        y = rms_norm(x, tensors[f"{layer}input_layernorm.weight"], eps)
        q, k, v = heads(tensors, layer, y, head_dim)
        q, k = (
            rms_norm(of, tensors[f"{layer}self_attn.{name}_norm.weight"], eps) for of, name in ((q, "q"), (k, "k"))
        )
        window = None
        if kind == "sliding_attention":
            q, k = (rotate_halves(of, config["rope_theta"]) for of in (q, k))
            window = config["sliding_window"]
        x = x + linear(attend(q, k, v, window), tensors[f"{layer}self_attn.o_proj.weight"])
        y = rms_norm(x, tensors[f"{layer}post_attention_layernorm.weight"], eps)
        best, chosen = linear(y, tensors[f"{layer}mlp.gate.weight"]).topk(config["num_experts_per_tok"])
        weights = best.softmax(-1)
        for e in range(config["num_experts"]):
            part = f"{layer}mlp.experts.{e}."
            gate, up, down = (tensors[f"{part}{name}_proj.weight"] for name in ("gate", "up", "down"))
            z = silu(linear(y, gate).clamp(max=limit)) * linear(y, up).clamp(-limit, limit)
            x = x + (weights * (chosen == e)).sum(-1, keepdim=True) * linear(z, down)
    return head(tensors, config, x)


def maple_shapes(config):
    shapes = plain_shapes(config, config["head_dim"], has_mlp=False)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{name}_norm.weight": (config["head_dim"],) for name in "qk"}
        shapes[f"{layer}mlp.gate.weight"] = (config["num_experts"], N_EMBD)
        for e in range(config["num_experts"]):
            shapes |= gated_shapes(f"{layer}mlp.experts.{e}.", config["moe_intermediate_size"], N_EMBD)
    return shapes


MAPLE = {
    **CONFIG,
    "architectures": ["MapleForCausalLM"],
    "model_type": "maple",
    "head_dim": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "moe_intermediate_size": 12,
    "nope_on_global_attention": True,
    "norm_topk_prob": True,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "sliding_window": 8,
}


def scaled(x, eps=torch.finfo(torch.float32).eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)


def rotate_back(x, theta):
    """Rotary positions of the other direction."""
    half = x.shape[-1] // 2
    signs = torch.cat((torch.ones(half), -torch.ones(half))).to(x.dtype)
    return rotate_halves(x * signs, theta) * signs


def talkie(tensors, config, ids):
    head_dim, theta = config["head_dim"], config["rope_theta"]
    x = begin = scaled(tensors["model.embed.weight"][ids])
    for i in range(config["num_hidden_layers"]):
        of = lambda name: tensors[f"model.blocks.{i}.{name}"]
        y = scaled(x)
        names = ("attn_query", "attn_key", "attn_value")
        q, k, v = (linear(y, of(f"attn.{name}.weight")).unflatten(-1, (-1, head_dim)) for name in names)
        q, k = (scaled(rotate_back(part, theta)) for part in (q, k))
        q = q * of("attn.head_gain.head_g")[:, None]
        x = x + of("attn_gain.a_g") * linear(attend(q, k, v), of("attn.attn_resid.weight"))
        y = gated(tensors, f"model.blocks.{i}.mlp.", scaled(x), ("mlp_gate", "mlp_linear", "mlp_resid"))
        x = x + of("mlp_gain.a_g") * y
        x = x + of("embed_skip.a_g") * begin
    return linear(scaled(x), tensors["lm_head"]) * tensors["lm_head_gain.w_g"]


def talkie_shapes(config):
    n_head, head_dim = config["num_attention_heads"], config["head_dim"]
    shapes = {"model.embed.weight": (N_VOCAB, N_EMBD), "lm_head": (N_VOCAB, N_EMBD), "lm_head_gain.w_g": (1,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.blocks.{i}."
        n_rows = {"attn_query": n_head, "attn_key": config["num_key_value_heads"]}
        n_rows["attn_value"] = n_rows["attn_key"]
        shapes |= {f"{layer}attn.{name}.weight": (n * head_dim, N_EMBD) for name, n in n_rows.items()}
        shapes[f"{layer}attn.attn_resid.weight"] = (N_EMBD, n_head * head_dim)
        shapes[f"{layer}attn.head_gain.head_g"] = (n_head,)
        names = ("mlp_gate", "mlp_linear", "mlp_resid")
        shapes |= gated_shapes(f"{layer}mlp.", config["intermediate_size"], N_EMBD, names)
        shapes |= {f"{layer}{name}.a_g": (1,) for name in ("attn_gain", "mlp_gain", "embed_skip")}
    return shapes


TALKIE = {
    **{key: value for key, value in CONFIG.items() if key != "rms_norm_eps"},
    "architectures": ["TalkieForCausalLM"],
    "model_type": "talkie",
    "head_dim": 8,
    "num_key_value_heads": 4,
}

REFERENCES = {
    "nanbeige": (NANBEIGE, plain_shapes(NANBEIGE, 8), nanbeige),
    # Or no gate would come to its bound.
    "maple": (MAPLE, maple_shapes(MAPLE), maple, {"experts": 4.0}),
    "talkie": (TALKIE, talkie_shapes(TALKIE), talkie),
}
