#!/usr/bin/env python3
"""Makes fixtures/tokenizer/: small tokenizers, and the ids that other programs give texts.

`spm/` is a SentencePiece model with the trainer's defaults (runs of spaces merge), `spm_json/` a
tokenizer.json made from such a model, with added tokens of every kind. expected.json holds, for these two and
for the bundled model's tokenizer, what sentencepiece or tokenizers make of a few hundred texts, with control
tokens read and not read. Needs sentencepiece and tokenizers:

    python tools/tokenizer_expectations.py
"""

import io
import json
import random
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "fixtures" / "tokenizer"
TEXT = ROOT / "fixtures" / "text" / "the-clockmakers-lantern.txt"

TEXTS = [
    "", " ", "  ", "\n", "\t", "\r\n", " \n ", "a", " a", "a ", "  a  b  ", "Once upon a time", "once  upon   a    time",
    "Hello, world! It's 2024-11-21; I'll pay $1,234,567.89 (or 50%).", "I'LL we've THEY'RE don't",
    "fn main() {\n\tlet x = vec![1, 22, 333];\r\n    println!(\"{}\", x.len());\n\n}\n  ",
    "Ünïcödé naïve café — «déjà vu» …", "日本語のテキスト、中文文本。", "한국어 텍스트", "ภาษาไทย", "हिन्दी पाठ", "العربية",
    "Ελληνικά кириллица", "🦙", "👩\u200d👩\u200d👧", "e\u0301e\u0301", "½ ¾ ² ³ Ⅳ ٣", "0", "12", "123", "1234567890123",
    "\u00a0x\u3000y\u2003z", "\u200b\ufeff\u0000\u007f", "\\n \\t \"quoted\" 'single'", "https://example.com/a?b=c&d=e#f",
    "A" * 40, "a" * 200, " " * 33, "\n" * 9, "ab" * 50, "▁", "▁a ▁▁b", "<0x0A>", "< s >", "<|", "|>", "snake_case camelCase",
]
ATOMS = ["a", "the", " ", "  ", "\n", "\r\n", "\t", "1", "23", "!", "'s", "é", "猫", "🦙", "▁", "\u0301", "<", ">", ".", "Z"]
N_RANDOM = 120


def texts(specials):
    rng = random.Random(20261125)
    for text in TEXTS:
        yield text
    for special in specials:
        for form in ["{0}", "a{0}b", "a {0} b", "a \n{0}\t\n b", "{0}{0}", "{0} {0}", "{0}x", " {0} ", "day{0}"]:
            yield form.format(special)
    for _ in range(N_RANDOM):
        yield "".join(rng.choice(ATOMS + specials) for _ in range(rng.randint(1, 12)))


def train(**options):
    """A SentencePiece model of 400 pieces as bytes."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.read_text().splitlines()), model_writer=model, vocab_size=400, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", num_threads=1, minloglevel=2, **options,
    )
    return model.getvalue()


def merges(processor, vocab):
    """The merges that lead to each piece, the highest score first, as transformers derives them."""
    found = []
    for piece, id in vocab.items():
        halves = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
        pairs = [(left, right) for left, right in halves if left in vocab and right in vocab]
        found += [(-processor.get_score(id), pair) for pair in sorted(pairs, key=lambda p: (vocab[p[0]], vocab[p[1]]))]
    return [pair for _, pair in sorted(found, key=lambda merge: merge[0])]


def make_spm():
    data = train()
    (FOLDER / "spm").mkdir(parents=True, exist_ok=True)
    (FOLDER / "spm" / "tokenizer.model").write_bytes(data)
    return sentencepiece.SentencePieceProcessor(model_proto=data)


def make_spm_json():
    processor = sentencepiece.SentencePieceProcessor(model_proto=train(remove_extra_whitespaces=False))
    vocab = {processor.id_to_piece(i): i for i in range(processor.get_piece_size())}
    pieces = {piece: id for piece, id in vocab.items() if id > 258}
    model = models.BPE(vocab, merges(processor, pieces), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_special_tokens([
        AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True), AddedToken("<both>", lstrip=True, rstrip=True),
    ])
    tokenizer.add_tokens([
        AddedToken("day", single_word=True, normalized=False), AddedToken("<tool>", normalized=True),
        AddedToken("<tool>x", normalized=False),
    ])
    (FOLDER / "spm_json").mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(FOLDER / "spm_json" / "tokenizer.json"), pretty=False)
    return tokenizer


def with_tokenizers(tokenizer, specials):
    cases = []
    for text in texts(specials):
        case = [text]
        for reads_specials in [False, True]:
            tokenizer.encode_special_tokens = not reads_specials
            case.append(tokenizer.encode(text, add_special_tokens=False).ids)
        cases.append(case)
    return cases


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    spm = make_spm()
    spm_json = make_spm_json()
    fairytale = Tokenizer.from_file(str(ROOT / "fixtures" / "models" / "fairytale" / "tokenizer.json"))
    expected = {
        "fairytale": with_tokenizers(fairytale, ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>"]),
        "spm": [[text, spm.encode(text)] for text in texts(["<s>", "</s>", "<unk>"])],
        "spm_json": with_tokenizers(spm_json, ["</s>", "<left>", "<right>", "<both>", "day", "<tool>", "<tool>x"]),
    }
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]" for name, cases in expected.items()
    ]
    (FOLDER / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
