#!/usr/bin/env python3
"""Makes fixtures/importance: what an importance matrix of the bundled model should hold, in float64.

    python tools/imatrix_expectations.py

Needs `torch` and `transformers`. The model reads two chunks of a tale from fixtures/text, the first token of
each replaced by the beginning-of-text token, and the squares of what some of its linear layers get are summed.
The checkpoint is run by transformers, so that neither code nor layout is shared with what is tested.
"""

import json
import pathlib

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
MODEL = REPOSITORY / "fixtures/models/fairytale"
TEXT = "the-clockmakers-lantern.txt"
OUT = REPOSITORY / "fixtures/importance"
N_CTX, N_CHUNKS, N_COLUMNS = 128, 2, 8
LINEARS = {
    "self_attn.q_proj": "attn_q", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.down_proj": "ffn_down",
}  # fmt: skip

MANIFEST = f"""# Importance matrices

`fairytale.json` is made by `tools/imatrix_expectations.py` with transformers in float64: the model of
`fixtures/models/fairytale` reads the first {N_CHUNKS} chunks of {N_CTX} tokens of `fixtures/text/{TEXT}`. For each
tensor it holds the sums of the squares and the sums of its first {N_COLUMNS} inputs, and the total of the squares
of all.
"""


def main():
    model = AutoModelForCausalLM.from_pretrained(MODEL).double().eval()
    text = (REPOSITORY / "fixtures/text" / TEXT).read_text().removesuffix("\n")
    ids = Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(text, add_special_tokens=True).ids
    seen = {}

    def watch(name):
        def hook(module, inputs):
            x = inputs[0][0]
            seen[name] = seen.get(name, 0) + torch.stack([x.pow(2).sum(0), x.sum(0)])

        return hook

    for layer in [0, len(model.model.layers) - 1]:
        for path, name in LINEARS.items():
            linear = model.model.layers[layer].get_submodule(path)
            linear.register_forward_pre_hook(watch(f"blk.{layer}.{name}.weight"))
    with torch.no_grad():
        for i in range(N_CHUNKS):
            chunk = ids[i * N_CTX : (i + 1) * N_CTX]
            chunk[0] = model.config.bos_token_id
            model(torch.tensor([chunk]))
    entries = {
        name: {
            "squares": squares[:N_COLUMNS].tolist(),
            "sums": sums[:N_COLUMNS].tolist(),
            "total": squares.sum().item(),
        }
        for name, (squares, sums) in sorted(seen.items())
    }
    OUT.mkdir(exist_ok=True)
    expected = {"text": TEXT, "n_ctx": N_CTX, "n_chunks": N_CHUNKS, "entries": entries}
    (OUT / "fairytale.json").write_text(json.dumps(expected, indent=1) + "\n")
    (OUT / "MANIFEST.md").write_text(MANIFEST)


if __name__ == "__main__":
    main()
