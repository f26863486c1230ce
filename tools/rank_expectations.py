#!/usr/bin/env python3
"""Makes fixtures/tokenizer/tiktoken and tekken, lists of tokens by rank, and the ids that their makers' programs give.

`tiktoken/tokenizer.model` is a list as Meta publishes with Llama 3, `tekken/tekken.json` one as Mistral does; both hold
tokens that were learned from the bundled text. The expected.json of each has what tiktoken, with the expression and the special tokens
of Llama 3, and mistral-common make of some hundred texts. Needs tiktoken, mistral-common and tokenizers:

    python tools/rank_expectations.py
"""

import base64
import json
import sys
from pathlib import Path

import tiktoken
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tokenizer_expectations import FOLDER, TEXT, texts  # noqa: E402

# As tiktoken.get_encoding("cl100k_base") and Llama 3 have it.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The first of Llama 3's special tokens; the others are reserved.
SPECIALS = {0: "<|begin_of_text|>", 1: "<|end_of_text|>", 6: "<|start_header_id|>", 7: "<|end_header_id|>", 9: "<|eot_id|>"}
N_WORDS = 700
N_TEKKEN_SPECIALS = 24


def learned():
    """The bytes of tokens that a byte-level BPE learns from the bundled text, all bytes first."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train([str(TEXT)], trainers.BpeTrainer(vocab_size=N_WORDS, initial_alphabet=alphabet, show_progress=False))
    prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in prints]
    byte_of = {chr(byte): byte for byte in prints} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    words = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]) if len(token) > 1]
    return [bytes([byte]) for byte in range(256)] + [bytes(byte_of[c] for c in word) for word in words]


def main():
    tokens = learned()
    spelled = [base64.b64encode(token).decode() for token in tokens]
    expected = {}

    folder = FOLDER / "tiktoken"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_text("".join(f"{text} {rank}\n" for rank, text in enumerate(spelled)))
    specials = {text: len(tokens) + i for i, text in SPECIALS.items()}
    ranks = {token: rank for rank, token in enumerate(tokens)}
    encoding = tiktoken.Encoding("made", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=specials)
    expected["tiktoken"] = [
        [text, encoding.encode_ordinary(text), encoding.encode(text, allowed_special="all")]
        for text in texts(list(specials))
    ]

    folder = FOLDER / "tekken"
    folder.mkdir(exist_ok=True)
    config = {
        "pattern": TEKKEN_PATTERN, "num_vocab_tokens": len(tokens), "default_vocab_size": N_TEKKEN_SPECIALS + len(tokens),
        "default_num_special_tokens": N_TEKKEN_SPECIALS, "version": "v3",
    }
    words = [{"rank": i, "token_bytes": text, "token_str": None} for i, text in enumerate(spelled)]
    path = folder / "tekken.json"
    path.write_text(json.dumps({"config": config, "vocab": words}).replace("}, {", "},\n{") + "\n")
    tekkenizer = Tekkenizer.from_file(path)
    expected["tekken"] = [
        [text, tekkenizer.encode(text, bos=False, eos=False)] for text in texts(["[INST]", "</s>"])
    ]
    for name, cases in expected.items():
        lines = ",\n".join(map(json.dumps, cases))
        (FOLDER / name / "expected.json").write_text(f'{{"{name}": [\n{lines}\n]}}\n')
    print({name: len(cases) for name, cases in expected.items()}, len(tokens), "tokens")


if __name__ == "__main__":
    main()
