#!/usr/bin/env python3
"""Makes fixtures/tokenizer/: small tokenizers, and the ids that other programs give texts.

`spm/` is a SentencePiece model with the trainer's defaults (runs of spaces merge), `spm_json/` a
tokenizer.json made from such a model, with added tokens of every kind. `wordpiece/` and `wordpiece_cased/` are as
BERT's, `unigram/` as XLM-RoBERTa's, with a small table of replaced characters, and `unigram_merged/` as older files of
it, which merge blanks but keep those at the ends. expected.json holds, for these and
for the bundled model's tokenizer, what sentencepiece or tokenizers make of a few hundred texts, with control
tokens read and not read. Needs sentencepiece and tokenizers:

    python tools/tokenizer_expectations.py
"""

import io
import json
import random
import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import (
    AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers,
)

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


def texts(specials, more=()):
    rng = random.Random(20261125)
    for text in [*TEXTS, *more]:
        yield text
    for special in specials:
        for form in ["{0}", "a{0}b", "a {0} b", "a \n{0}\t\n b", "{0}{0}", "{0} {0}", "{0}x", " {0} ", "day{0}"]:
            yield form.format(special)
    for _ in range(N_RANDOM):
        yield "".join(rng.choice(ATOMS + specials + list(more)) for _ in range(rng.randint(1, 12)))


def train(**options):
    """A SentencePiece model, of 400 pieces if `options` do not say otherwise, as bytes."""
    model = io.BytesIO()
    usual = dict(vocab_size=400, model_type="bpe", byte_fallback=True, normalization_rule_name="identity")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.read_text().splitlines()), model_writer=model, num_threads=1, minloglevel=2,
        **(usual | options),
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


HARD = [
    "CAF\u00c9 cafe\u0301 \u0130stanbul \u00df \u1e9e", "\u00adsoft\u200bhyphen\u2060", "a\u0000b\ufffdc", "\u4e2d\u6587\u6587\u672c lantern\u706f",
    "\uff21\uff42\uff43 \uff45\u0301 \u2460 \u00bd \ufb01x \u2122", "\u1eb9\u0301 \u0323\u0301", "...!?--\u2014\u00ab\u00bb\u00b7", "x" * 99, "x" * 100, "x" * 101, "\u00e9" * 101,
    "\ud55c\uad6d\uc5b4 \u0915\u0902", "the  the\u3000the\u2003the\u0085the\u2028the", "\U0001f999 \U0002a6d6 \U0002b81e \ufa0e", "[CLS] [MASK] [UNK]", "don't O'Brien's", "\u2581the \u2581 the\u2581",
    "\u0301abc", "##ing ##", "\u01c5 \u03a3\u03b1\u03c2", "$1,234.56 + 3^2 ~ `x`", "\ud83c\udde9\ud83c\uddea\u0301".encode("utf-16", "surrogatepass").decode("utf-16"),
]


def make_wordpiece(name, lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(TEXT.read_text().splitlines() + HARD, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(text, tokenizer.token_to_id(text)) for text in ["[CLS]", "[SEP]"]],
    )
    return saved(tokenizer, name)


def charsmap():
    """A table of SentencePiece that replaces some characters and pairs of them."""
    rules = {
        "\uff21": "A", "\uff41": "a", "\uff42": "b", "\uff43": "c", "\uff45": "e", "e\u0301": "\u00e9", "\u3000": " ", "\u2003": " ", "\t": " ", "\n": " ",
        "\r": " ", "\u00a0": " ", "\u00bd": "1\u20442", "\ufb01": "fi", "\u2122": "TM", "\u200b": "", "\u00ad": "", "\u2460": "1", "\u0d1c\u0d4d": "j",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        for old, new in rules.items():
            file.write(f"{' '.join(f'{ord(c):X}' for c in old)}\t{' '.join(f'{ord(c):X}' for c in new)}\n")
        file.flush()
        return train(normalization_rule_tsv=file.name, normalization_rule_name="", model_type="unigram", vocab_size=300, byte_fallback=False)


def fields(message):
    """The values of a protobuf message by the numbers of their fields."""

    def varint(at):
        n, shift = 0, 0
        while True:
            n, shift, at = n | (message[at] & 127) << shift, shift + 7, at + 1
            if message[at - 1] < 128:
                return n, at

    values, at = {}, 0
    while at < len(message):
        key, at = varint(at)
        if key & 7 == 0:
            value, at = varint(at)
        else:
            size, at = varint(at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = message[at : at + size], at + size
        values.setdefault(key >> 3, []).append(value)
    return values


def make_unigram(name, merged):
    model = charsmap()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(processor.id_to_piece(i), processor.get_score(i)) for i in range(3, processor.get_piece_size())]
    vocab.append(("<mask>", 0.0))
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Precompiled(fields(fields(model)[3][0])[2][0])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", prepend_scheme="always")
    if merged:
        tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, normalizers.Replace(Regex(" {2,}"), " ")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), tokenizer.pre_tokenizer])
    tokenizer.decoder = decoders.Metaspace("\u2581", prepend_scheme="always")
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return saved(tokenizer, name)


def saved(tokenizer, name):
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(FOLDER / name / "tokenizer.json"), pretty=False)
    return tokenizer


def with_tokenizers(tokenizer, specials, more=()):
    cases = []
    for text in texts(specials, more):
        case = [text]
        # The library finds the texts of control tokens in words of a Unigram model too.
        for reads_specials in [True] if more else [False, True]:
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
    for name, lowercase in [("wordpiece", True), ("wordpiece_cased", False)]:
        tokenizer = make_wordpiece(name, lowercase)
        expected[name] = with_tokenizers(tokenizer, ["[CLS]", "[MASK]"], HARD)
    for name, merged in [("unigram", False), ("unigram_merged", True)]:
        expected[name] = with_tokenizers(make_unigram(name, merged), ["</s>", "<mask>"], HARD)
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]" for name, cases in expected.items()
    ]
    (FOLDER / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
