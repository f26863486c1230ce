"""Families that neither transformers has nor a model of it computes as well: their forward passes, written from the
papers and from the code that their authors published, and the tiny models that tools/family_fixtures.py makes of them.

`REFERENCES[name]` is (configuration as on the Hub, shapes of the tensors by name, function from tensors,
configuration and ids to logits, and if some tensors must be greater than others to matter, by parts of their names how
many times). Tensors are float32, or float64 to see how far rounding goes.
"""

import torch
from torch.nn.functional import linear, relu, silu

from family_shapes import COMMON, N_VOCAB

CONFIG = {**COMMON, "rms_norm_eps": 0.01, "rope_theta": 300.0, "hidden_act": "silu", "torch_dtype": "bfloat16"}
N_EMBD = COMMON["hidden_size"]
TRUNK = {
    "model.embed_tokens.weight": (N_VOCAB, N_EMBD),
    "model.norm.weight": (N_EMBD,),
    "lm_head.weight": (N_VOCAB, N_EMBD),
}


def rms_norm(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotate_halves(x, theta):
    """Rotary positions of `x: [n, n_head, head_dim]`, elements `i` and `i + head_dim / 2` together."""
    n, head_dim = x.shape[0], x.shape[-1]
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=x.dtype) / head_dim)
    angles = torch.arange(n, dtype=x.dtype)[:, None, None] * frequencies
    a, b = x.chunk(2, -1)
    return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), -1)


def attend(q, k, v, window=None, scale=None):
    """Causal attention: `q: [n, n_head, d]`, `k` and `v: [n, n_head_kv, d]`; `[n, n_head * d]`."""
    n, n_head = q.shape[:2]
    k, v = (x.repeat_interleave(n_head // x.shape[1], 1) for x in (k, v))
    scores = torch.einsum("ihd,jhd->hij", q, k) * (scale or q.shape[-1] ** -0.5)
    distance = torch.arange(n)[:, None] - torch.arange(n)
    hidden = (distance < 0) | (distance >= (window or n))
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return torch.einsum("hij,jhd->ihd", weights, v).flatten(1)


def attention_shapes(layer, n_head, n_head_kv, head_dim, n_embd):
    names = {"q_proj": n_head, "k_proj": n_head_kv, "v_proj": n_head_kv}
    shapes = {f"{layer}self_attn.{name}.weight": (n * head_dim, n_embd) for name, n in names.items()}
    return shapes | {f"{layer}self_attn.o_proj.weight": (n_embd, n_head * head_dim)}


def gated_shapes(part, n_ff, n_embd, names=("gate_proj", "up_proj", "down_proj")):
    gate, up, down = names
    inner = {f"{part}{name}.weight": (n_ff, n_embd) for name in (gate, up)}
    return inner | {f"{part}{down}.weight": (n_embd, n_ff)}


def heads(tensors, layer, x, head_dim):
    """Queries, keys and values of `x`, `[n, n_head, head_dim]` each."""
    of = (linear(x, tensors[f"{layer}self_attn.{name}_proj.weight"]) for name in "qkv")
    return (y.unflatten(-1, (-1, head_dim)) for y in of)


def head(tensors, config, x):
    x = rms_norm(x, tensors["model.norm.weight"], config["rms_norm_eps"])
    return linear(x, tensors["lm_head.weight"])


def smallthinker(tensors, config, ids):
    eps, theta, head_dim = config["rms_norm_eps"], config["rope_theta"], config["head_dim"]
    x = tensors["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        # Before attention, without a norm.
        scores = linear(x, tensors[f"{layer}block_sparse_moe.primary_router.weight"])
        q, k, v = heads(tensors, layer, rms_norm(x, tensors[f"{layer}input_layernorm.weight"], eps), head_dim)
        if config["rope_layout"][i]:
            q, k = rotate_halves(q, theta), rotate_halves(k, theta)
        window = config["sliding_window_size"] if config["sliding_window_layout"][i] else None
        x = x + linear(attend(q, k, v, window), tensors[f"{layer}self_attn.o_proj.weight"])
        y = rms_norm(x, tensors[f"{layer}post_attention_layernorm.weight"], eps)
        best, chosen = scores.topk(config["moe_num_active_primary_experts"])
        if config["moe_primary_router_apply_softmax"]:
            weights = best.softmax(-1)
        else:
            weights = best.sigmoid() / best.sigmoid().sum(-1, keepdim=True)
        for e in range(config["moe_num_primary_experts"]):
            part = f"{layer}block_sparse_moe.experts.{e}."
            gate, up, down = (tensors[f"{part}{name}.weight"] for name in ("gate", "up", "down"))
            share = (weights * (chosen == e)).sum(-1, keepdim=True)
            x = x + share * linear(relu(linear(y, gate)) * linear(y, up), down)
    return head(tensors, config, x)


def smallthinker_shapes(config):
    shapes = dict(TRUNK)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}{name}_layernorm.weight": (N_EMBD,) for name in ("input", "post_attention")}
        shapes |= attention_shapes(layer, 4, 2, config["head_dim"], N_EMBD)
        n_expert = config["moe_num_primary_experts"]
        shapes[f"{layer}block_sparse_moe.primary_router.weight"] = (n_expert, N_EMBD)
        for e in range(n_expert):
            part = f"{layer}block_sparse_moe.experts.{e}."
            shapes |= gated_shapes(part, config["moe_ffn_hidden_size"], N_EMBD, ("gate", "up", "down"))
    return shapes


SMALLTHINKER = {
    **CONFIG,
    "architectures": ["SmallThinkerForCausalLM"],
    "model_type": "smallthinker",
    "head_dim": 8,
    "moe_enable_early_router": True,
    "moe_enable_secondary_experts": False,
    "moe_ffn_hidden_size": 12,
    "moe_num_active_primary_experts": 3,
    "moe_num_primary_experts": 6,
    "moe_primary_router_apply_softmax": False,
    "moe_layer_layout": [1, 1],
    "rope_layout": [0, 1],
    "sliding_window_layout": [0, 1],
    "sliding_window_size": 4096,
}


def deci(tensors, config, ids):
    eps, head_dim = config["rms_norm_eps"], config["hidden_size"] // config["num_attention_heads"]
    x = tensors["model.embed_tokens.weight"][ids]
    for i, block in enumerate(config["block_configs"]):
        layer = f"model.layers.{i}."
        if not block["attention"]["no_op"]:
            y = rms_norm(x, tensors[f"{layer}input_layernorm.weight"], eps)
            if block["attention"]["replace_with_linear"]:
                x = x + linear(y, tensors[f"{layer}self_attn.linear_attn.weight"])
            else:
                q, k, v = heads(tensors, layer, y, head_dim)
                q, k = (rotate_halves(of, config["rope_theta"]) for of in (q, k))
                x = x + linear(attend(q, k, v), tensors[f"{layer}self_attn.o_proj.weight"])
        if not block["ffn"]["no_op"]:
            y = rms_norm(x, tensors[f"{layer}post_attention_layernorm.weight"], eps)
            gate, up, down = (tensors[f"{layer}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
            x = x + linear(silu(linear(y, gate)) * linear(y, up), down)
    return head(tensors, config, x)


def deci_shapes(config):
    n_embd, n_head = config["hidden_size"], config["num_attention_heads"]
    shapes = {name: tuple(n_embd if n == N_EMBD else n for n in shape) for name, shape in TRUNK.items()}
    for i, block in enumerate(config["block_configs"]):
        layer = f"model.layers.{i}."
        attention = block["attention"]
        if not attention["no_op"]:
            shapes[f"{layer}input_layernorm.weight"] = (n_embd,)
            if attention["replace_with_linear"]:
                shapes[f"{layer}self_attn.linear_attn.weight"] = (n_embd, n_embd)
            else:
                n_head_kv = n_head // attention["n_heads_in_group"]
                shapes |= attention_shapes(layer, n_head, n_head_kv, n_embd // n_head, n_embd)
        if not block["ffn"]["no_op"]:
            shapes[f"{layer}post_attention_layernorm.weight"] = (n_embd,)
            # The multiple of 256 from `int(2 ffn_mult n_embd / 3)` on.
            shapes |= gated_shapes(f"{layer}mlp.", 256, n_embd)
    return shapes


def deci_block(group=None, is_linear=False, ffn_mult=2.0):
    no_attention = group is None and not is_linear
    attention = {"n_heads_in_group": group, "no_op": no_attention, "replace_with_linear": is_linear}
    ffn = {"ffn_mult": ffn_mult, "no_op": ffn_mult is None, "replace_with_linear": False}
    return {"attention": {**attention, "sparsify": None}, "ffn": {**ffn, "sparsify": None}}


DECI = {
    **{key: value for key, value in CONFIG.items() if key not in ("num_key_value_heads", "intermediate_size")},
    "architectures": ["DeciLMForCausalLM"],
    "model_type": "nemotron-nas",
    "hidden_size": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 5,
    "block_configs": [
        deci_block(group=1),
        deci_block(is_linear=True),
        deci_block(ffn_mult=None),
        deci_block(),
        deci_block(group=2),
    ],
}


def openelm_widths(config):
    """The multiples that are nearest, but not a tenth less."""
    divisor = config["ffn_dim_divisor"]
    exact = [times * config["model_dim"] for times in config["ffn_multipliers"]]
    nearest = [max(divisor, int(x + divisor / 2) // divisor * divisor) for x in exact]
    return [n + divisor if n < 0.9 * x else n for n, x in zip(nearest, exact)]


def openelm(tensors, config, ids):
    head_dim, theta, eps = config["head_dim"], config["rope_freq_constant"], 1e-6
    table = tensors["transformer.token_embeddings.weight"]
    x = table[ids]
    for i, (n_head, n_head_kv) in enumerate(zip(config["num_query_heads"], config["num_kv_heads"])):
        of = {
            name: tensors[f"transformer.layers.{i}.{name}.weight"]
            for name in ("attn_norm", "attn.qkv_proj", "attn.q_norm", "attn.k_norm", "attn.out_proj")
            + ("ffn_norm", "ffn.proj_1", "ffn.proj_2")
        }
        heads = linear(rms_norm(x, of["attn_norm"], eps), of["attn.qkv_proj"]).unflatten(-1, (-1, head_dim))
        q, k, v = heads.split((n_head, n_head_kv, n_head_kv), 1)
        q = rotate_halves(rms_norm(q, of["attn.q_norm"], eps), theta)
        k = rotate_halves(rms_norm(k, of["attn.k_norm"], eps), theta)
        x = x + linear(attend(q, k, v), of["attn.out_proj"])
        gate, up = linear(rms_norm(x, of["ffn_norm"], eps), of["ffn.proj_1"]).chunk(2, -1)
        x = x + linear(silu(gate) * up, of["ffn.proj_2"])
    return linear(rms_norm(x, tensors["transformer.norm.weight"], eps), table)


def openelm_shapes(config):
    n_embd, head_dim = config["model_dim"], config["head_dim"]
    table = (config["vocab_size"], n_embd)
    shapes = {"transformer.token_embeddings.weight": table, "transformer.norm.weight": (n_embd,)}
    of_layers = zip(config["num_query_heads"], config["num_kv_heads"], openelm_widths(config))
    for i, (n_head, n_head_kv, n_ff) in enumerate(of_layers):
        layer = f"transformer.layers.{i}."
        norms = {"attn_norm": n_embd, "attn.q_norm": head_dim, "attn.k_norm": head_dim, "ffn_norm": n_embd}
        shapes |= {f"{layer}{name}.weight": (n,) for name, n in norms.items()}
        shapes[f"{layer}attn.qkv_proj.weight"] = ((n_head + 2 * n_head_kv) * head_dim, n_embd)
        shapes[f"{layer}attn.out_proj.weight"] = (n_embd, n_head * head_dim)
        shapes[f"{layer}ffn.proj_1.weight"] = (2 * n_ff, n_embd)
        shapes[f"{layer}ffn.proj_2.weight"] = (n_embd, n_ff)
    return shapes


OPENELM = {
    "architectures": ["OpenELMForCausalLM"],
    "model_type": "openelm",
    "activation_fn_name": "swish",
    "ffn_dim_divisor": 8,
    "ffn_multipliers": [0.5, 1.3],
    "ffn_with_glu": True,
    "head_dim": 8,
    "max_context_length": 64,
    "model_dim": 32,
    "normalization_layer_name": "rms_norm",
    "normalize_qk_projections": True,
    "num_kv_heads": [1, 2],
    "num_query_heads": [3, 4],
    "num_transformer_layers": 2,
    "rope_freq_constant": 300.0,
    "share_input_output_layers": True,
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
}

REFERENCES = {
    "smallthinker": (SMALLTHINKER, smallthinker_shapes(SMALLTHINKER), smallthinker),
    "deci": (DECI, deci_shapes(DECI), deci),
    "openelm": (OPENELM, openelm_shapes(OPENELM), openelm),
}
