"""Encoders that transformers does not have, in torch, for tools/encoder_fixtures.py: written from the code that their
authors published, with the names of their published weights.
"""

import json
import types

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import conv1d, gelu, linear, silu


class Reference(nn.Module):
    """A model of tensors by name; a subclass says their shapes and what becomes of ids."""

    def __init__(self, config):
        super().__init__()
        self.config = types.SimpleNamespace(**config)
        self.tensors = {}
        for name, shape in self.shapes().items():
            is_norm = len(shape) == 1 and name.endswith("weight")
            self.tensors[name] = torch.ones(shape) if is_norm else torch.zeros(shape)

    def state_dict(self, keep_vars=False):
        return self.tensors

    def to(self, dtype):
        self.tensors = {name: tensor.to(dtype) for name, tensor in self.tensors.items()}
        return self

    def save_pretrained(self, folder):
        save_file(self.tensors, folder / "model.safetensors", metadata={"format": "pt"})
        own = dict(architectures=self.ARCHITECTURES, model_type=self.MODEL_TYPE)
        (folder / "config.json").write_text(json.dumps(vars(self.config) | own, indent=2) + "\n")

    def attend(self, q, k, v):
        """`[n, n_embd]` each, of a text whose positions all see each other."""
        q, k, v = (x.unflatten(-1, (self.config.num_attention_heads, -1)) for x in (q, k, v))
        q, k = self.rotate(q), self.rotate(k)
        weights = (torch.einsum("ihd,jhd->hij", q, k) * q.shape[-1] ** -0.5).softmax(-1)
        return torch.einsum("hij,jhd->ihd", weights, v).flatten(1)

    def angles(self, x, theta):
        frequencies = theta ** (-torch.arange(0, x.shape[-1], 2, dtype=x.dtype) / x.shape[-1])
        return torch.arange(x.shape[0], dtype=x.dtype)[:, None, None] * frequencies


def rms_norm(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


class NeoBert(Reference):
    ARCHITECTURES = ["NeoBERT"]
    MODEL_TYPE = "neobert"

    def shapes(self):
        c = self.config
        n, n_ff = c.hidden_size, -(-(2 * c.intermediate_size // 3) // 8) * 8
        shapes = {"encoder.weight": (c.vocab_size, n), "layer_norm.weight": (n,)}
        for i in range(c.num_hidden_layers):
            of_layer = {"attention_norm": (n,), "qkv": (3 * n, n), "wo": (n, n), "ffn_norm": (n,)}
            of_layer |= {"ffn.w12": (2 * n_ff, n), "ffn.w3": (n, n_ff)}
            shapes |= {f"transformer_encoder.{i}.{name}.weight": shape for name, shape in of_layer.items()}
        return shapes

    def rotate(self, x):
        angles, (a, b) = self.angles(x, 10000.0), (x[..., 0::2], x[..., 1::2])
        turned = (a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin())
        return torch.stack(turned, -1).flatten(-2)

    def forward(self, input_ids):
        eps = self.config.norm_eps
        x = self.tensors["encoder.weight"][input_ids[0]]
        for i in range(self.config.num_hidden_layers):
            of = lambda name: self.tensors[f"transformer_encoder.{i}.{name}.weight"]
            y = linear(rms_norm(x, of("attention_norm"), eps), of("qkv"))
            # The query, the key and the value of each head follow each other.
            q, k, v = y.unflatten(-1, (self.config.num_attention_heads, -1)).chunk(3, -1)
            x = x + linear(self.attend(q.flatten(1), k.flatten(1), v.flatten(1)), of("wo"))
            gate, up = linear(rms_norm(x, of("ffn_norm"), eps), of("ffn.w12")).chunk(2, -1)
            x = x + linear(silu(gate) * up, of("ffn.w3"))
        x = rms_norm(x, self.tensors["layer_norm.weight"], eps)
        return types.SimpleNamespace(last_hidden_state=x[None])


class NeoBertRank(NeoBert):
    """With scores of classes: of the first position, behind a layer with the hyperbolic tangent."""

    ARCHITECTURES = ["NeoBERTForSequenceClassification"]

    def shapes(self):
        n, n_classes = self.config.hidden_size, len(self.config.id2label)
        heads = {"dense.weight": (n, n), "dense.bias": (n,)}
        heads |= {"classifier.weight": (n_classes, n), "classifier.bias": (n_classes,)}
        return {f"model.{name}": shape for name, shape in super().shapes().items()} | heads

    def forward(self, input_ids):
        inner = NeoBert(vars(self.config))
        inner.tensors = {name.removeprefix("model."): tensor for name, tensor in self.tensors.items()}
        of = lambda x, name: linear(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])
        first = inner(input_ids).last_hidden_state[:, 0]
        return types.SimpleNamespace(logits=of(of(first, "dense").tanh(), "classifier"))


class NomicBertMoe(Reference):
    """Its experts have a bias behind them, which is zero here: GGUF has no place for it."""

    ARCHITECTURES = ["NomicBertModel"]
    MODEL_TYPE = "nomic_bert"

    def shapes(self):
        c = self.config
        n, n_ff = c.n_embd, c.n_inner
        shapes = {"embeddings.word_embeddings.weight": (c.vocab_size, n)}
        shapes["embeddings.token_type_embeddings.weight"] = (c.type_vocab_size, n)
        norms, linears = ["emb_ln"], {}
        for i in range(c.n_layer):
            layer = f"encoder.layers.{i}."
            norms += [f"{layer}norm1", f"{layer}norm2"]
            linears |= {f"{layer}attn.Wqkv": (3 * n, n), f"{layer}attn.out_proj": (n, n)}
            if i % c.moe_every_n_layers == 1:
                shapes[f"{layer}mlp.router.layer.weight"] = (c.num_experts, n)
                shapes |= {f"{layer}mlp.experts.mlp.{name}": (c.num_experts * n_ff, n) for name in ("w1", "w2")}
            else:
                linears |= {f"{layer}mlp.fc1": (n_ff, n), f"{layer}mlp.fc2": (n, n_ff)}
        for name, shape in linears.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        for name in norms:
            shapes |= {f"{name}.weight": (n,), f"{name}.bias": (n,)}
        return shapes

    def rotate(self, x):
        angles, (a, b) = self.angles(x, self.config.rotary_emb_base), x.chunk(2, -1)
        return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), -1)

    def norm(self, x, name):
        weight, bias = (self.tensors[f"{name}.{part}"] for part in ("weight", "bias"))
        return nn.functional.layer_norm(x, x.shape[-1:], weight, bias, self.config.layer_norm_epsilon)

    def linear(self, x, name):
        return linear(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def experts(self, x, part):
        c = self.config
        best, chosen = linear(x, self.tensors[f"{part}router.layer.weight"]).softmax(-1).topk(c.moe_top_k)
        w1, w2 = (self.tensors[f"{part}experts.mlp.{name}"].unflatten(0, (c.num_experts, -1)) for name in ("w1", "w2"))
        shares = torch.zeros(len(x), c.num_experts).scatter(1, chosen, best)
        return sum(shares[:, e : e + 1] * (gelu(x @ w1[e].T) @ w2[e]) for e in range(c.num_experts))

    def forward(self, input_ids, token_type_ids):
        names = ("embeddings.word_embeddings.weight", "embeddings.token_type_embeddings.weight")
        words, types_of = (self.tensors[name] for name in names)
        x = self.norm(words[input_ids[0]] + types_of[token_type_ids[0]], "emb_ln")
        for i in range(self.config.n_layer):
            layer = f"encoder.layers.{i}."
            mixed = self.attend(*self.linear(x, f"{layer}attn.Wqkv").chunk(3, -1))
            x = self.norm(x + self.linear(mixed, f"{layer}attn.out_proj"), f"{layer}norm1")
            if i % self.config.moe_every_n_layers == 1:
                y = self.experts(x, f"{layer}mlp.")
            else:
                y = self.linear(gelu(self.linear(x, f"{layer}mlp.fc1")), f"{layer}mlp.fc2")
            x = self.norm(x + y, f"{layer}norm2")
        return types.SimpleNamespace(last_hidden_state=x[None])


class Gte(Reference):
    """Alibaba's `NewModel`: names as in the weights of a base model, q, k and v in one matrix."""

    ARCHITECTURES = ["NewModel"]
    MODEL_TYPE = "new"
    PREFIX = ""

    def shapes(self):
        c = self.config
        n, n_ff = c.hidden_size, c.intermediate_size
        shapes = {"embeddings.word_embeddings.weight": (c.vocab_size, n)}
        if c.type_vocab_size > 0:
            shapes["embeddings.token_type_embeddings.weight"] = (c.type_vocab_size, n)
        norms, linears = ["embeddings.LayerNorm"], {}
        for i in range(c.num_hidden_layers):
            layer = f"encoder.layer.{i}."
            norms += [f"{layer}attn_ln", f"{layer}mlp_ln"]
            linears |= {f"{layer}attention.o_proj": (n, n), f"{layer}mlp.down_proj": (n, n_ff)}
            if c.pack_qkv:
                linears[f"{layer}attention.qkv_proj"] = (3 * n, n)
            else:
                linears |= {f"{layer}attention.{part}_proj": (n, n) for part in "qkv"}
            shapes[f"{layer}mlp.up_gate_proj.weight"] = (2 * n_ff, n)
        for name, shape in (linears | self.heads()).items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        for name in norms:
            shapes |= {f"{name}.weight": (n,), f"{name}.bias": (n,)}
        return {name if name.startswith("classifier") else self.PREFIX + name: shape for name, shape in shapes.items()}

    def heads(self):
        return {}

    def rotate(self, x):
        # A context that is `factor` times as long: the base grows as much, and all frequencies shrink.
        factor = (self.config.rope_scaling or {}).get("factor", 1.0)
        angles = self.angles(x, self.config.rope_theta * factor) / factor ** (2 / x.shape[-1])
        a, b = x.chunk(2, -1)
        return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), -1)

    def norm(self, x, name):
        weight, bias = (self.tensors[f"{self.PREFIX}{name}.{part}"] for part in ("weight", "bias"))
        return nn.functional.layer_norm(x, x.shape[-1:], weight, bias, self.config.layer_norm_eps)

    def linear(self, x, name):
        return linear(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def forward(self, input_ids, token_type_ids=None):
        c, prefix = self.config, self.PREFIX
        x = self.tensors[f"{prefix}embeddings.word_embeddings.weight"][input_ids[0]]
        if c.type_vocab_size > 0:
            x = x + self.tensors[f"{prefix}embeddings.token_type_embeddings.weight"][token_type_ids[0]]
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(c.num_hidden_layers):
            layer = f"encoder.layer.{i}."
            attention = f"{prefix}{layer}attention."
            if c.pack_qkv:
                qkv = self.linear(x, f"{attention}qkv_proj").chunk(3, -1)
            else:
                qkv = [self.linear(x, f"{attention}{part}_proj") for part in "qkv"]
            x = self.norm(x + self.linear(self.attend(*qkv), f"{attention}o_proj"), f"{layer}attn_ln")
            up, gate = linear(x, self.tensors[f"{prefix}{layer}mlp.up_gate_proj.weight"]).chunk(2, -1)
            y = self.linear(gelu(gate) * up, f"{prefix}{layer}mlp.down_proj")
            x = self.norm(x + y, f"{layer}mlp_ln")
        return types.SimpleNamespace(last_hidden_state=x[None])


class GteRank(Gte):
    """With scores of classes: of the first position, behind a layer with the hyperbolic tangent."""

    ARCHITECTURES = ["NewForSequenceClassification"]
    PREFIX = "new."

    def heads(self):
        n = self.config.hidden_size
        return {"pooler.dense": (n, n), "classifier": (len(self.config.id2label), n)}

    def forward(self, input_ids, token_type_ids):
        first = super().forward(input_ids, token_type_ids).last_hidden_state[:, 0]
        pooled = self.linear(first, "new.pooler.dense").tanh()
        return types.SimpleNamespace(logits=self.linear(pooled, "classifier"))


REFERENCES = {"neobert": NeoBert, "neobert_rank": NeoBertRank, "nomic_bert_moe": NomicBertMoe}

class Lfm2Bidirectional(Reference):
    """LFM2 whose positions see those on both sides: in attention the whole text, in convolutions as many behind as before."""

    ARCHITECTURES = ["Lfm2BidirectionalModel"]
    MODEL_TYPE = "lfm2"

    def shapes(self):
        c = self.config
        n, n_kv = c.hidden_size, c.num_key_value_heads * (c.hidden_size // c.num_attention_heads)
        shapes = {"embed_tokens.weight": (c.vocab_size, n), "embedding_norm.weight": (n,)}
        for i, kind in enumerate(c.layer_types):
            of_layer = {"operator_norm": (n,), "ffn_norm": (n,)}
            of_layer |= {"feed_forward.w1": (c.intermediate_size, n), "feed_forward.w3": (c.intermediate_size, n)}
            of_layer |= {"feed_forward.w2": (n, c.intermediate_size)}
            if kind == "conv":
                of_layer |= {"conv.in_proj": (3 * n, n), "conv.out_proj": (n, n), "conv.conv": (n, 1, c.conv_L_cache)}
            else:
                head = (n // c.num_attention_heads,)
                of_layer |= {"self_attn.q_proj": (n, n), "self_attn.k_proj": (n_kv, n), "self_attn.v_proj": (n_kv, n)}
                of_layer |= {"self_attn.out_proj": (n, n), "self_attn.q_layernorm": head, "self_attn.k_layernorm": head}
            shapes |= {f"layers.{i}.{name}.weight": shape for name, shape in of_layer.items()}
        return shapes

    def rotate(self, x):
        angles, (a, b) = self.angles(x, self.config.rope_theta), x.chunk(2, -1)
        return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), -1)

    def forward(self, input_ids):
        c, eps = self.config, self.config.norm_eps
        x = self.tensors["embed_tokens.weight"][input_ids[0]]
        for i, kind in enumerate(c.layer_types):
            of = lambda name: self.tensors[f"layers.{i}.{name}.weight"]
            y = rms_norm(x, of("operator_norm"), eps)
            if kind == "conv":
                before, after, y = linear(y, of("conv.in_proj")).chunk(3, -1)
                y = conv1d((before * y).T[None], of("conv.conv"), padding=c.conv_L_cache // 2, groups=c.hidden_size)
                x = x + linear(after * y[0].T, of("conv.out_proj"))
            else:
                q, k, v = (linear(y, of(f"self_attn.{part}_proj")) for part in "qkv")
                heads = lambda x: x.unflatten(-1, (-1, c.hidden_size // c.num_attention_heads))
                q = rms_norm(heads(q), of("self_attn.q_layernorm"), eps).flatten(1)
                k = rms_norm(heads(k), of("self_attn.k_layernorm"), eps)
                n_shared = c.num_attention_heads // c.num_key_value_heads
                k, v = (x.repeat_interleave(n_shared, 1).flatten(1) for x in (k, heads(v)))
                x = x + linear(self.attend(q, k, v), of("self_attn.out_proj"))
            y = rms_norm(x, of("ffn_norm"), eps)
            x = x + linear(silu(linear(y, of("feed_forward.w1"))) * linear(y, of("feed_forward.w3")), of("feed_forward.w2"))
        x = rms_norm(x, self.tensors["embedding_norm.weight"], eps)
        return types.SimpleNamespace(last_hidden_state=x[None])


REFERENCES |= {"lfm2_bidirectional": Lfm2Bidirectional}
REFERENCES |= {"new": Gte, "new_rank": GteRank}
BY_CLASS = {made.ARCHITECTURES[0]: made for made in REFERENCES.values()}


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    model = BY_CLASS[config["architectures"][0]](config)
    model.tensors = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    return model.eval()
