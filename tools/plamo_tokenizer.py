#!/usr/bin/env python3
"""Makes fixtures/tokenizer/plamo/, a small vocabulary in the form of PLaMo 2's, and the ids that llama.cpp gives texts.

The ids are in expected.json there, in the form of tools/tokenizer_expectations.py, with control tokens not read and read.
Control tokens have scores that llama.cpp takes for none, for it finds them in ordinary text, where this
program never does.

    python tools/plamo_tokenizer.py

Needs gguf, numpy, llama-cpp-python, and what tools/tokenizer_expectations.py needs.
"""

import collections
import json
import math
import random
import tempfile
from pathlib import Path

import gguf
import llama_cpp
from tokenizer_expectations import FOLDER, TEXT, texts

SPECIALS = ["<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>", "<|plamo:op|>"]
NO_SCORE = -3000.0
# Of several scripts and lengths; some cost nearly as much as their characters' bytes, or more. One that cost exactly as
# much would end a list of llama.cpp's early; no vocabulary has such a score.
MORE = [
    ("é", -8.0), ("猫", -9.5), ("日本", -9.0), ("日本語", -11.25), ("の", -5.0), ("テキスト", -12.0), ("🦙", -14.0), ("한", -13.0),
    ("▁", -15.0), ("\n\n", -7.0), ("\t", -9.0), ("  ", -6.0), ("    ", -7.5), ("day", -6.0), ("\u0301", -999.0),
    ("½", -999.9), ("²", -1000.5), ("…", -1999.9999), ("«", -2000.0), ("ﬁ", -12345.0),
]  # fmt: skip


def rows():
    """The rows of the file: token, score, type, and what serves its authors alone."""
    yield "<|plamo:unk|>", NO_SCORE, "UNKNOWN"
    for special in SPECIALS:
        yield special, NO_SCORE, "CONTROL"
    for byte in range(256):
        yield f"<0x{byte:02X}>", 0.0, "BYTE"
    text = TEXT.read_text()
    counts = collections.Counter(text[i : i + n] for n in range(1, 8) for i in range(len(text) - n))
    # Long ones count for more, and scores have more digits than are taken.
    common = sorted(counts, key=lambda piece: (-counts[piece] * len(piece), piece))[:360]
    rng = random.Random(20261126)
    taken = {piece for piece, _ in MORE}
    for piece in common:
        if piece not in taken:
            yield piece, math.log(counts[piece] / len(text)) - rng.random(), "NORMAL"
    for piece, score in MORE:
        yield piece, score, "NORMAL"


def write_gguf(path, table):
    types = {"UNKNOWN": 2, "CONTROL": 3, "BYTE": 6, "NORMAL": 1}
    writer = gguf.GGUFWriter(path, "plamo2")
    writer.add_tokenizer_model("plamo2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token for token, _, _ in table])
    writer.add_token_scores([score for _, score, _ in table])
    writer.add_token_types([types[kind] for _, _, kind in table])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    table = list(rows())
    folder = FOLDER / "plamo"
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps([*row, "", 0, 0, 0], ensure_ascii=False) + "\n" for row in table)
    (folder / "tokenizer.jsonl").write_text("".join(lines))
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "vocab.gguf"
        write_gguf(path, table)
        model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        ids = lambda text, special: model.tokenize(text.encode(), add_bos=False, special=special)
        cases = [[text, ids(text, False), ids(text, True)] for text in texts(SPECIALS, [piece for piece, _ in MORE])]
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "expected.json").write_text(f'{{\n"plamo": [\n{lines}\n]\n}}\n')
    print(f"{len(table)} tokens, {len(cases)} texts")


main()
