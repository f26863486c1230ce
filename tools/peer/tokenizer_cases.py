#!/usr/bin/env python3
"""Makes cases for tests/suite/tokenizer_vocabs.rs from any GGUF files: texts and the ids llama.cpp gives them.

    python tools/peer/tokenizer_cases.py OUT_FOLDER FILE.gguf... [--seed N] [--texts N]
    GGUF_VOCABS=OUT_FOLDER cargo test --test suite tokenizer_vocabs

The texts are random mixtures of scripts, blanks, line breaks, digits, code, emoji and long runs.
Needs the package llama-cpp-python. The files are linked into OUT_FOLDER.
"""

import argparse
import os
import random
from pathlib import Path

import llama_cpp

SEPARATOR = "\n__ggml_vocab_test__\n"
POOLS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "0123456789", "     ", "\n\r\t ", "'s'tT'rR'eE'vV'm'lL'dD",
    ".,;:!?\"'()[]{}<>/\\|@#$%^&*-_=+`~", "éüñßÀÉæøåçÑ", "жЖДЯя", "猫日本語中文字", "かなカナ", "한국어",
    "กขคงิีุู่้", "हिन्दीपाठ", "العربية", "אבג", "🦙😀👩\u200d👩\u200d👧🏳️", "\u00a0\u2003\u3000\u2028\u0085",
    "\u0301\u0308\u200b", "½²³ⅣⅧ٣४", "€£∑∞→", "ǅǈʰʱ", "\x01\x7f", "𝒜𐐀", "‘’“”…—–", "。，！？（）",
]
RUNS = ["a", " ", "\n", " a", "1", "é", "!", "\t"]


def random_text(rng):
    text = ""
    for _ in range(rng.randint(1, 12)):
        pool = POOLS[0] if rng.random() < 0.3 else rng.choice(POOLS)
        text += "".join(rng.choice(pool) for _ in range(rng.randint(1, 6)))
        if rng.random() < 0.4:
            text += " " * rng.choice([1, 1, 1, 2, 3, 7])
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--texts", type=int, default=1000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    texts = [random_text(rng) for _ in range(args.texts)] + [run * 1000 for run in RUNS]
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.files:
        model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        lines = [" ".join(map(str, model.tokenize(t.encode(), add_bos=False, special=False))) for t in texts]
        link = args.out / path.name
        if not link.exists():
            os.symlink(path.resolve(), link)
        ending = lambda suffix: args.out / f"{path.name}.{suffix}"
        ending("inp").write_bytes("".join(t + SEPARATOR for t in texts).encode())
        ending("out").write_text("".join(line + "\n" for line in lines))
        print(f"{path.name}: {len(texts)} texts")


if __name__ == "__main__":
    main()
