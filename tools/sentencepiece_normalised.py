#!/usr/bin/env python3
"""Makes fixtures/tokenizer/spm_normalised/: a SentencePiece BPE whose file asks for normalisation, and its ids.

The rules replace, join and remove characters, and some begin as others do. With --rule NAME one of SentencePiece's own
takes their place (nmt_nfkc has 240 KB), and with --to FOLDER the result goes elsewhere. Needs sentencepiece and
tokenizers:

    python tools/sentencepiece_normalised.py
"""

import argparse
import json
import random
import tempfile
from pathlib import Path

import sentencepiece

from tokenizer_expectations import FOLDER, texts, train

RULES = [
    ("ａ", "a"), ("Ａ", "A"), ("Ａ\u0301", "Á"), ("A\u0301", "Á"), ("e\u0301", "é"), ("ﬁ", "fi"), ("…", "..."), ("²", "2"),
    ("か\u3099", "が"), ("ｶ", "カ"), ("ｶﾞ", "ガ"), ("㌔", "キロ"), ("\u3000", " "), ("\u00a0", " "), ("\t", " "), ("\n", " "),
    ("\r", " "), ("\u200b", ""), ("\ufeff", ""), ("ab", "x"), ("abc", "yz"), ("abcd e", "w"), ("▁", "_"),
    ("½", "1/2"), ("ß", "ss"), ("🦙", "llama"), ("👩\u200d👩\u200d👧", "family"),
]
MORE = [
    "ＡＢＣ ａｂｃ", "Ａ\u0301 A\u0301 A\u0302", "Ａ\u0301\u0301", "か\u3099 か ｶﾞ ｶ ﾞ", "㌔㌔", "\u3000\u3000a\u3000 \u3000b\u3000", "a\u200b b\u200b",
    "\u200b", "\u200b \u200b", "ab abc abcd abcd e abcd  e abcde", "aabbcc abab", "…… ﬁﬁ ßß", "a\n\n b\t\tc", "½½", "▁▁a", "\u3000",
    " \u200b a", "a \u200b b", "🦙🦙", "👩\u200d👩", "👩\u200d👩\u200d👧👩\u200d👩\u200d👧",
]
ATOMS = ["a", "b", "c", "d", "e", "ab", " ", "\u3000", "\u200b", "Ａ", "\u0301", "か", "\u3099", "ｶ", "ﾞ", "…", "\n", "▁", "é", "🦙"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rule")
    parser.add_argument("--to", type=Path, default=FOLDER / "spm_normalised")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    if args.rule:
        model = train(vocab_size=600, normalization_rule_name=args.rule)
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as rules:
            for found, put in RULES:
                hexes = [" ".join(f"{ord(c):X}" for c in text) for text in (found, put)]
                rules.write("\t".join(hexes) + "\n")
            rules.flush()
            model = train(vocab_size=420, normalization_rule_tsv=rules.name)
    (args.to / "tokenizer.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    rng = random.Random(5)
    mixed = ["".join(rng.choice(ATOMS) for _ in range(rng.randint(1, 14))) for _ in range(150)]
    cases = [[text, processor.encode(text)] for text in dict.fromkeys([*texts([]), *MORE, *mixed])]
    if args.rule:
        # Every character of the planes that have any, in rows.
        rows = ["".join(chr(c) for c in range(at, at + 32) if not 0xD800 <= c < 0xE000) for at in range(0, 0x1FC00, 32)]
        cases += [[row, processor.encode(row)] for row in rows]
    text = json.dumps({args.to.name: cases}, ensure_ascii=False, indent=0)
    (args.to / "expected.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(model)} bytes, {len(cases)} texts")


if __name__ == "__main__":
    main()
