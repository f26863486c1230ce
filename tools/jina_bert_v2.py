"""JinaBERT 2 in torch, for tools/encoder_fixtures.py: transformers does not have it.

After Guenther et al. 2023, "Jina Embeddings 2", section 3, and the names of its published weights: BERT whose scores
fall with the distance in both directions (Press et al. 2021), and gated feed-forward parts (Shazeer 2020).
"""

import json
import types

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        n, ff = config["hidden_size"], config["intermediate_size"]
        self.n_head = config["num_attention_heads"]
        heads = {name: nn.Linear(n, n) for name in ["query", "key", "value"]}
        self.attention = nn.ModuleDict({
            "self": nn.ModuleDict(heads),
            "output": nn.ModuleDict({"dense": nn.Linear(n, n), "LayerNorm": nn.LayerNorm(n, eps=1e-12)}),
        })
        self.mlp = nn.ModuleDict({
            "gated_layers": nn.Linear(n, 2 * ff, bias=False), "wo": nn.Linear(ff, n), "layernorm": nn.LayerNorm(n, eps=1e-12),
        })

    def forward(self, x):
        n_tokens, n = x.shape
        q, k, v = (self.attention["self"][name](x).view(n_tokens, self.n_head, -1).transpose(0, 1) for name in ["query", "key", "value"])
        places = torch.arange(n_tokens)
        slopes = 2.0 ** (-8.0 / self.n_head * torch.arange(1, self.n_head + 1))
        bias = -slopes[:, None, None] * (places[:, None] - places[None, :]).abs()
        weights = torch.softmax(q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + bias, dim=-1)
        output = self.attention["output"]
        x = output["LayerNorm"](x + output["dense"]((weights @ v).transpose(0, 1).reshape(n_tokens, n)))
        gate, up = self.mlp["gated_layers"](x).chunk(2, dim=-1)
        return self.mlp["layernorm"](x + self.mlp["wo"](nn.functional.gelu(gate) * up))


class JinaBert(nn.Module):
    def __init__(self, config):
        super().__init__()
        n = config["hidden_size"]
        self.config = types.SimpleNamespace(**config)
        self.embeddings = nn.ModuleDict({
            "word_embeddings": nn.Embedding(config["vocab_size"], n),
            "token_type_embeddings": nn.Embedding(config["type_vocab_size"], n),
            "LayerNorm": nn.LayerNorm(n, eps=1e-12),
        })
        layers = [Layer(config) for _ in range(config["num_hidden_layers"])]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(self, input_ids, token_type_ids):
        x = self.embeddings["word_embeddings"](input_ids[0]) + self.embeddings["token_type_embeddings"](token_type_ids[0])
        x = self.embeddings["LayerNorm"](x)
        for layer in self.encoder["layer"]:
            x = layer(x)
        return types.SimpleNamespace(last_hidden_state=x[None])

    def save_pretrained(self, folder):
        save_file(self.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
        config = vars(self.config) | dict(
            architectures=["JinaBertModel"], model_type="bert", hidden_act="gelu", feed_forward_type="geglu",
            position_embedding_type="alibi", layer_norm_eps=1e-12,
        )
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load(folder):
    model = JinaBert(json.loads((folder / "config.json").read_text()))
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()})
    return model.eval()
