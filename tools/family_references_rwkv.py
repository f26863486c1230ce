"""RWKV-7, which transformers does not have: see tools/family_references.py."""

import torch
from torch.nn.functional import layer_norm, linear, relu, silu

from family_references import N_EMBD, rms_norm
from family_shapes import N_VOCAB


def shift(x):
    """The difference of the input of the position before and that of each."""
    return torch.cat((torch.zeros_like(x[:1]), x[:-1])) - x


def time_mix(x, of, head_dim, first_values, has_gate=True, has_norm=True):
    """Returns the output for `x: [n, n_embd]`, and the values. `of` finds vectors, and matrices as products take them."""
    n_head = x.shape[-1] // head_dim
    heads = lambda y: y.unflatten(-1, (n_head, head_dim))
    mixed = {name: x + shift(x) * of(f"x_{name}").flatten() for name in "rwkvag"[: 6 if has_gate else 5]}
    r, k, v = (heads(linear(mixed[name], of(name))) for name in "rkv")
    narrow = lambda name, middle: linear(middle(linear(mixed[name], of(f"{name}1"))), of(f"{name}2"))
    same = lambda y: y
    w = torch.exp(-0.606531 * torch.sigmoid(of("w0").flatten() + narrow("w", torch.tanh)))
    a = torch.sigmoid(of("a0").flatten() + narrow("a", same))
    if first_values is not None:
        v = v + (first_values - v) * heads(torch.sigmoid(of("v0").flatten() + narrow("v", same)))
    unit = k * heads(of("k_k").flatten())
    unit = unit / unit.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    w, a = heads(w), heads(a)
    k = k * (1 + (a - 1) * heads(of("k_a").flatten()))
    state, outputs = torch.zeros(n_head, head_dim, head_dim, dtype=x.dtype), []
    for t in range(len(x)):
        seen = torch.einsum("hij,hj->hi", state, -unit[t])
        state = state * w[t][:, None] + v[t][..., None] * k[t][:, None]
        state = state + seen[..., None] * (unit[t] * a[t])[:, None]
        outputs.append(torch.einsum("hij,hj->hi", state, r[t]))
    y = torch.stack(outputs)
    if has_norm:
        y = layer_norm(y, y.shape[-1:], eps=64e-5).flatten(1) * of("ln.weight") + of("ln.bias")
        y = heads(y)
    y = y + (r * k * heads(of("r_k").flatten())).sum(-1, keepdim=True) * v
    y = y.flatten(1)
    if has_gate:
        y = y * narrow("g", torch.sigmoid)
    return linear(y, of("o")), v


def rwkv7(tensors, config, ids):
    norm = lambda x, name: layer_norm(
        x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], config["norm_eps"]
    )
    names = {name: f"{name}_proj.weight" for name in "rkvo"} | {"ln.weight": "g_norm.weight", "ln.bias": "g_norm.bias"}
    for name in "wavg":
        names |= {f"{name}{i}": f"{name}_lora.lora.{j}" for i, j in ((0, "2.bias"), (1, "0.weight"), (2, "2.weight"))}
    x = norm(tensors["model.embeddings.weight"][ids], "model.layers.0.pre_norm")
    first_values = None
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        of = lambda name: tensors[f"{layer}attn.{names.get(name, name)}"]
        y, values = time_mix(norm(x, f"{layer}attn_norm"), of, config["head_dim"], first_values)
        first_values = values if first_values is None else first_values
        x = x + y
        y = norm(x, f"{layer}ffn_norm")
        y = y + shift(y) * tensors[f"{layer}ffn.x_k"]
        y = relu(linear(y, tensors[f"{layer}ffn.key.weight"])) ** 2
        x = x + linear(y, tensors[f"{layer}ffn.value.weight"])
    return linear(norm(x, "model.norm"), tensors["lm_head.weight"])


def rwkv7_shapes(config):
    n, n_ff, head_dim = N_EMBD, config["intermediate_size"], config["head_dim"]
    shapes = {"model.embeddings.weight": (N_VOCAB, n), "lm_head.weight": (N_VOCAB, n)}
    norms = ["model.norm", "model.layers.0.pre_norm"]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        norms += [f"{layer}attn_norm", f"{layer}ffn_norm", f"{layer}attn.g_norm"]
        shapes |= {f"{layer}attn.x_{name}": (1, 1, n) for name in "rwkvag"}
        shapes |= {f"{layer}attn.{name}_proj.weight": (n, n) for name in "rkvo"}
        shapes |= {f"{layer}attn.{name}": (n,) for name in ("k_k", "k_a")}
        shapes[f"{layer}attn.r_k"] = (n // head_dim, head_dim)
        ranks = {"w": "decay_low_rank_dim", "a": "a_low_rank_dim", "v": "v_low_rank_dim", "g": "gate_low_rank_dim"}
        for name, rank in ranks.items():
            if name == "v" and i == 0:
                continue
            shapes[f"{layer}attn.{name}_lora.lora.0.weight"] = (config[rank], n)
            shapes[f"{layer}attn.{name}_lora.lora.2.weight"] = (n, config[rank])
            if name != "g":
                shapes[f"{layer}attn.{name}_lora.lora.2.bias"] = (n,)
        shapes[f"{layer}ffn.x_k"] = (n,)
        shapes |= {f"{layer}ffn.key.weight": (n_ff, n), f"{layer}ffn.value.weight": (n, n_ff)}
    for name in norms:
        shapes |= {f"{name}.weight": (n,), f"{name}.bias": (n,)}
    return shapes


RWKV7 = {
    "architectures": ["RWKV7ForCausalLM"],
    "model_type": "rwkv7",
    "a_low_rank_dim": 8,
    "attn": None,
    "attn_mode": "chunk",
    "decay_low_rank_dim": 12,
    "fuse_norm": True,
    "gate_low_rank_dim": 16,
    "head_dim": 16,
    "hidden_act": "sqrelu",
    "hidden_size": N_EMBD,
    "intermediate_size": 48,
    "max_position_embeddings": 2048,
    "norm_bias": True,
    "norm_eps": 0.01,
    "norm_first": True,
    "num_heads": 2,
    "num_hidden_layers": 3,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "v_low_rank_dim": 4,
    "vocab_size": N_VOCAB,
}


def arwkv7(tensors, config, ids):
    eps = config["rms_norm_eps"]
    names = {"r": "receptance", "k": "key", "v": "value", "o": "output", "ln": "ln_x"}
    x, first_values = tensors["model.embed_tokens.weight"][ids], None
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."

        def of(name):
            part = f"{layer}self_attn.time_mixer."
            if name in names and name != "ln":
                return tensors[f"{part}{names[name]}.weight"]
            tensor = tensors[part + name.replace("ln.", "ln_x.")]
            return tensor.T if name[1:] in ("1", "2") else tensor

        y = rms_norm(x, tensors[f"{layer}input_layernorm.weight"], eps)
        y, values = time_mix(y, of, config["head_size"], first_values, has_norm=config["wkv_has_group_norm"])
        first_values = values if first_values is None else first_values
        x = x + y
        y = rms_norm(x, tensors[f"{layer}post_attention_layernorm.weight"], eps)
        gate, up, down = (tensors[f"{layer}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        x = x + linear(silu(linear(y, gate)) * linear(y, up), down)
    x = rms_norm(x, tensors["model.norm.weight"], eps)
    return linear(x, tensors["lm_head.weight"])


def arwkv7_shapes(config):
    n, n_ff, head_dim = config["hidden_size"], config["intermediate_size"], config["head_size"]
    shapes = {f"{name}.weight": (N_VOCAB, n) for name in ("model.embed_tokens", "lm_head")}
    shapes["model.norm.weight"] = (n,)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        mixer = f"{layer}self_attn.time_mixer."
        shapes |= {f"{layer}{name}_layernorm.weight": (n,) for name in ("input", "post_attention")}
        shapes |= {f"{mixer}x_{name}": (1, 1, n) for name in "rwkvag"}
        shapes |= {f"{mixer}{name}.weight": (n, n) for name in ("receptance", "key", "value", "output")}
        shapes |= {f"{mixer}{name}": (1, 1, n) for name in ("k_k", "k_a")}
        shapes[f"{mixer}r_k"] = (n // head_dim, head_dim)
        for name, rank in {"w": 64, "a": 64, "v": 32, "g": 128}.items():
            if name == "v" and i == 0:
                continue
            shapes |= {f"{mixer}{name}1": (n, rank), f"{mixer}{name}2": (rank, n)}
            if name != "g":
                shapes[f"{mixer}{name}0"] = (1, 1, n)
        if config["wkv_has_group_norm"]:
            shapes |= {f"{mixer}ln_x.{name}": (n,) for name in ("weight", "bias")}
        shapes |= {f"{layer}mlp.{name}_proj.weight": (n_ff, n) for name in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (n, n_ff)
    return shapes


ARWKV7 = {
    "architectures": ["RwkvHybridForCausalLM"],
    "model_type": "rwkv_hybrid",
    "head_size": 8,
    "hidden_act": "silu",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "rms_norm_eps": 0.01,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
    "wkv_has_gate": True,
    "wkv_has_group_norm": False,
    "wkv_layers": "full",
    "wkv_version": 7,
}

REFERENCES = {
    "rwkv7": (RWKV7, rwkv7_shapes(RWKV7), rwkv7),
    "arwkv7": (ARWKV7, arwkv7_shapes(ARWKV7), arwkv7),
}
