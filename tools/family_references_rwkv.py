"""RWKV-6 and RWKV-7, which transformers does not have: see tools/family_references.py."""

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


def moved_mixtures(x, of, order):
    """What each part of the time mix of RWKV-6 takes of `x: [n, n_embd]`."""
    y = x + shift(x) * of("time_maa_x").flatten()
    narrow = torch.tanh(y @ of("time_maa_w1")).unflatten(-1, (5, -1))
    moved = torch.einsum("ijr,jrn->ijn", narrow, of("time_maa_w2"))
    return {
        name: x + shift(x) * (of(f"time_maa_{name}").flatten() + moved[:, j]) for j, name in enumerate(order)
    }


def decays(x, of):
    return torch.exp(-torch.exp(of("time_decay").flatten() + torch.tanh(x @ of("time_decay_w1")) @ of("time_decay_w2")))


def rwkv6(tensors, config, ids):
    eps, head_dim, every = config["layer_norm_epsilon"], config["head_size"], config["rescale_every"]
    norm = lambda x, name: layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)
    heads = lambda y: y.unflatten(-1, (-1, head_dim))
    x = norm(tensors["rwkv.embeddings.weight"][ids], "rwkv.blocks.0.pre_ln")
    for i in range(config["num_hidden_layers"]):
        layer = f"rwkv.blocks.{i}."
        # The authors' code halves the stream on its way, and the last matrix of each part with it.
        halved = 0.5 ** (i // every)
        of = lambda name: tensors[f"{layer}attention.{name}"]
        mixed = moved_mixtures(norm(x, f"{layer}ln1"), of, "wkvrg")
        r, k, v, g = (
            linear(mixed[name[0]], of(f"{name}.weight")) for name in ("receptance", "key", "value", "gate")
        )
        r, k, v, w = heads(r), heads(k), heads(v), heads(decays(mixed["w"], of))
        state, outputs = torch.zeros(r.shape[1], head_dim, head_dim, dtype=x.dtype), []
        for t in range(len(x)):
            added = k[t][..., None] * v[t][:, None]
            outputs.append(torch.einsum("hi,hij->hj", r[t], state + of("time_faaaa")[..., None] * added))
            state = w[t][..., None] * state + added
        y = layer_norm(torch.stack(outputs), (head_dim,), eps=64e-5).flatten(1)
        y = (y * of("ln_x.weight") + of("ln_x.bias")) * silu(g)
        x = x + linear(y, halved * of("output.weight"))
        of = lambda name: tensors[f"{layer}feed_forward.{name}"]
        y = norm(x, f"{layer}ln2")
        k = linear(y + shift(y) * of("time_maa_k").flatten(), of("key.weight"))
        r = linear(y + shift(y) * of("time_maa_r").flatten(), of("receptance.weight"))
        x = x + torch.sigmoid(r) * linear(relu(k) ** 2, halved * of("value.weight"))
        if (i + 1) % every == 0:
            x = x / 2
    return linear(norm(x, "rwkv.ln_out"), tensors["head.weight"])


def rwkv6_shapes(config):
    n, n_ff, head_dim = config["hidden_size"], config["intermediate_size"], config["head_size"]
    shapes = {"rwkv.embeddings.weight": (N_VOCAB, n), "head.weight": (N_VOCAB, n)}
    norms = ["rwkv.ln_out", "rwkv.blocks.0.pre_ln"]
    for i in range(config["num_hidden_layers"]):
        mixer, channel = f"rwkv.blocks.{i}.attention.", f"rwkv.blocks.{i}.feed_forward."
        norms += [f"rwkv.blocks.{i}.ln1", f"rwkv.blocks.{i}.ln2", f"{mixer}ln_x"]
        shapes |= {f"{mixer}time_maa_{name}": (1, 1, n) for name in "xwkvrg"}
        shapes |= {f"{mixer}time_maa_w1": (n, 5 * 32), f"{mixer}time_maa_w2": (5, 32, n)}
        shapes |= {f"{mixer}time_decay": (1, 1, n), f"{mixer}time_faaaa": (n // head_dim, head_dim)}
        shapes |= {f"{mixer}time_decay_w1": (n, 64), f"{mixer}time_decay_w2": (64, n)}
        shapes |= {f"{mixer}{name}.weight": (n, n) for name in ("receptance", "key", "value", "gate", "output")}
        shapes |= {f"{channel}time_maa_{name}": (1, 1, n) for name in "kr"}
        shapes |= {f"{channel}key.weight": (n_ff, n), f"{channel}value.weight": (n, n_ff)}
        shapes[f"{channel}receptance.weight"] = (n, n)
    for name in norms:
        shapes |= {f"{name}.weight": (n,), f"{name}.bias": (n,)}
    return shapes


RWKV6 = {
    "architectures": ["Rwkv6ForCausalLM"],
    "model_type": "rwkv6",
    "attention_hidden_size": 16,
    "head_size": 8,
    "head_size_divisor": 8,
    "hidden_size": 16,
    "intermediate_size": 24,
    "layer_norm_epsilon": 0.01,
    "num_hidden_layers": 3,
    "rescale_every": 2,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
}


def rwkv6qwen2(tensors, config, ids):
    eps, n_head, n_kv = (config[key] for key in ("rms_norm_eps", "num_attention_heads", "num_key_value_heads"))
    x = tensors["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        of = lambda name: tensors[f"{layer}self_attn.{name}"]
        mixed = moved_mixtures(rms_norm(x, tensors[f"{layer}input_layernorm.weight"], eps), of, "rkvwg")
        r, k, v = (
            linear(mixed[name], of(f"{part}_proj.weight"), of(f"{part}_proj.bias")).unflatten(-1, (heads, -1))
            for name, part, heads in (("r", "q", n_head), ("k", "k", n_kv), ("v", "v", n_kv))
        )
        k, v = (y.repeat_interleave(n_head // n_kv, 1) for y in (k, v))
        w = decays(mixed["w"], of).unflatten(-1, (n_head, -1))
        k = k * (1 - w)
        state, outputs = torch.zeros(n_head, r.shape[-1], r.shape[-1], dtype=x.dtype), []
        for t in range(len(x)):
            state = w[t][..., None] * state + k[t][..., None] * v[t][:, None]
            outputs.append(torch.einsum("hi,hij->hj", r[t] * r.shape[-1] ** -0.5, state))
        y = torch.stack(outputs).flatten(1) * torch.sigmoid(linear(mixed["g"], of("gate.weight")))
        x = x + linear(y, of("o_proj.weight"))
        y = rms_norm(x, tensors[f"{layer}post_attention_layernorm.weight"], eps)
        gate, up, down = (tensors[f"{layer}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        x = x + linear(silu(linear(y, gate)) * linear(y, up), down)
    return linear(rms_norm(x, tensors["model.norm.weight"], eps), tensors["lm_head.weight"])


def rwkv6qwen2_shapes(config):
    n, n_ff, n_head = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    n_kv = n // n_head * config["num_key_value_heads"]
    mix_rank, decay_rank = config["lora_rank_tokenshift"], config["lora_rank_decay"]
    shapes = {f"{name}.weight": (N_VOCAB, n) for name in ("model.embed_tokens", "lm_head")}
    shapes["model.norm.weight"] = (n,)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        mixer = f"{layer}self_attn."
        shapes |= {f"{layer}{name}_layernorm.weight": (n,) for name in ("input", "post_attention")}
        shapes |= {f"{mixer}time_maa_{name}": (1, 1, n) for name in "xrkvwg"}
        shapes |= {f"{mixer}time_maa_w1": (n, 5 * mix_rank), f"{mixer}time_maa_w2": (5, mix_rank, n)}
        shapes |= {f"{mixer}time_decay": (1, 1, n)}
        shapes |= {f"{mixer}time_decay_w1": (n, decay_rank), f"{mixer}time_decay_w2": (decay_rank, n)}
        for name, n_out in (("q", n), ("k", n_kv), ("v", n_kv)):
            shapes |= {f"{mixer}{name}_proj.weight": (n_out, n), f"{mixer}{name}_proj.bias": (n_out,)}
        shapes |= {f"{mixer}gate.weight": (n, n), f"{mixer}o_proj.weight": (n, n)}
        shapes |= {f"{layer}mlp.{name}_proj.weight": (n_ff, n) for name in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (n, n_ff)
    return shapes


RWKV6QWEN2 = {
    "architectures": ["RWKV6Qwen2ForCausalLM"],
    "model_type": "rwkv6qwen2",
    "attention_bias": True,
    "hidden_act": "silu",
    "hidden_size": 32,
    "intermediate_size": 24,
    "lora_rank_decay": 12,
    "lora_rank_tokenshift": 8,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 0.01,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
}

REFERENCES = {
    "rwkv6": (RWKV6, rwkv6_shapes(RWKV6), rwkv6),
    "rwkv6qwen2": (RWKV6QWEN2, rwkv6qwen2_shapes(RWKV6QWEN2), rwkv6qwen2),
    "rwkv7": (RWKV7, rwkv7_shapes(RWKV7), rwkv7),
    "arwkv7": (ARWKV7, arwkv7_shapes(ARWKV7), arwkv7),
}
