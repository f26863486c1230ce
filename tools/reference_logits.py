"""Makes fixtures/logits: what the bundled model should compute, by a forward pass in float64.

Usage: python tools/reference_logits.py fixtures/models/fairytale fixtures/logits

It follows the checkpoint's own conventions (rows of q and k as stored, rotation of halves), so that
it shares neither code nor layout with what is tested. Needs numpy, tokenizers; with llama-cpp-python
and a third argument, an F32 GGUF of the model, it also prints how far llama.cpp is from it.
"""

import json
import pathlib
import struct
import sys

import numpy as np
from tokenizers import Tokenizer

PROMPT = "Once upon a time there was a miller who had three sons"
N_GREEDY = 32


def read_safetensors(path):
    data = path.read_bytes()
    (header_len,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + header_len])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "BF16"
        begin, end = (8 + header_len + offset for offset in entry["data_offsets"])
        halves = np.frombuffer(data[begin:end], dtype="<u2").astype(np.uint32)
        tensors[name] = (halves << 16).view(np.float32).astype(np.float64).reshape(entry["shape"])
    return tensors


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def forward(tensors, config, ids):
    """Logits of every position: [len(ids), n_vocab]."""
    n, n_head, n_head_kv = len(ids), config["num_attention_heads"], config["num_key_value_heads"]
    head_dim, eps = config["head_dim"], config["rms_norm_eps"]
    frequencies = config["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    angles = np.arange(n)[:, None] * frequencies
    cos, sin = (np.concatenate([f(angles)] * 2, -1)[:, None, :] for f in (np.cos, np.sin))

    def rotate(x):
        half = head_dim // 2
        return x * cos + np.concatenate([-x[..., half:], x[..., :half]], -1) * sin

    x = tensors["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        weight = lambda name: tensors[f"model.layers.{layer}.{name}.weight"]
        h = rms_norm(x, weight("input_layernorm"), eps)
        q = rotate((h @ weight("self_attn.q_proj").T).reshape(n, n_head, head_dim))
        k = rotate((h @ weight("self_attn.k_proj").T).reshape(n, n_head_kv, head_dim))
        v = (h @ weight("self_attn.v_proj").T).reshape(n, n_head_kv, head_dim)
        k, v = (np.repeat(t, n_head // n_head_kv, axis=1) for t in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head_dim)
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        heads = np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1)
        x = x + heads @ weight("self_attn.o_proj").T
        h = rms_norm(x, weight("post_attention_layernorm"), eps)
        gate = h @ weight("mlp.gate_proj").T
        up = h @ weight("mlp.up_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weight("mlp.down_proj").T
    return rms_norm(x, tensors["model.norm.weight"], eps) @ tensors["model.embed_tokens.weight"].T


def compare_with_llama_cpp(path, ids, logits):
    from llama_cpp import Llama

    model = Llama(str(path), n_ctx=512, logits_all=True, verbose=False)
    model.eval(ids)
    difference = np.abs(np.array(model.scores[: len(ids)]) - logits[: len(ids)])
    print(f"llama.cpp differs by at most {difference.max():.2e}, {difference.mean():.2e} on average")


def main():
    checkpoint, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    config = json.loads((checkpoint / "config.json").read_text())
    tensors = read_safetensors(checkpoint / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    prompt = [config["bos_token_id"]] + tokenizer.encode(PROMPT, add_special_tokens=False).ids
    ids = list(prompt)
    margins = []
    for _ in range(N_GREEDY):
        last = forward(tensors, config, ids)[-1]
        best, second = np.sort(last)[[-1, -2]]
        margins.append(best - second)
        ids.append(int(last.argmax()))
    logits = forward(tensors, config, ids)
    kept = [0, len(prompt) - 1, len(ids) - 1]
    out.mkdir(parents=True, exist_ok=True)
    logits[kept].astype("<f4").tofile(out / "fairytale.f32")
    reference = {"prompt": prompt, "greedy": ids[len(prompt) :], "kept_positions": kept}
    (out / "fairytale.json").write_text(json.dumps(reference) + "\n")
    print(tokenizer.decode(ids), f"\nleast margin of a greedy choice: {min(margins):.3f}")
    print(f"logits within {logits.min():.2f}..{logits.max():.2f}")
    if len(sys.argv) > 3:
        compare_with_llama_cpp(sys.argv[3], ids, logits)


main()
