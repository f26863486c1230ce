//! The small tokenizers of fixtures/tokenizer give the ids that the programs they are made for give.

use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::checkpoint::{Config, Folder};
use gguf_kit::gguf::{GgufFile, GgufWriter, Layout};
use gguf_kit::tokenizer::{Role, Tokenizer, Vocabulary};
use serde_json::Value;

use crate::hostile::{GgufBytes, STRING};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A text, its ids as text, and its ids with control tokens read, if the other program can do that. Of encoders there
/// are only the latter.
type Case = (String, Vec<u32>, Option<Vec<u32>>);

fn cases(name: &str) -> Vec<Case> {
    let own = fixtures().join("tokenizer").join(name).join("expected.json");
    let path = if own.exists() { own } else { fixtures().join("tokenizer/expected.json") };
    let expected = fs::read_to_string(path).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let ids = |ids: &Value| ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let case = |case: &Value| (case[0].as_str().unwrap().to_owned(), ids(&case[1]), case.get(2).map(ids));
    let cases: Vec<Case> = expected[name].as_array().unwrap().iter().map(case).collect();
    assert!(cases.len() > 150, "{name}: {}", cases.len());
    cases
}

fn vocabulary(dir: &Path, n_vocab: usize) -> Vocabulary {
    let config = Config::parse(Path::new("config.json"), "{}").unwrap();
    Vocabulary::from_checkpoint(&Folder::new(dir), &config, n_vocab).unwrap()
}

/// The tokenizer of a file with this vocabulary.
fn through_a_file(vocabulary: &Vocabulary) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.gguf");
    let layout = Layout::new(vocabulary.to_metadata(), Vec::new(), 32).unwrap();
    GgufWriter::create(&path, layout, false).unwrap().finish().unwrap();
    Tokenizer::from_metadata(GgufFile::open(&path).unwrap().metadata()).unwrap()
}

fn check(name: &str, dir: &Path, n_vocab: usize) {
    let tokenizer = through_a_file(&vocabulary(dir, n_vocab));
    for (text, as_text, read) in cases(name) {
        assert_eq!(tokenizer.encode(&text, false, false).unwrap(), as_text, "{name}: {text:?}");
        if let Some(read) = read {
            assert_eq!(
                tokenizer.encode(&text, false, true).unwrap(),
                read,
                "{name}: {text:?}, specials read"
            );
        }
    }
}

#[test]
fn a_byte_level_tokenizer_gives_the_ids_of_tokenizers() {
    check("fairytale", &crate::common::fairytale(), 4096);
}

#[test]
fn a_sentencepiece_model_gives_the_ids_of_sentencepiece() {
    check("spm", &fixtures().join("tokenizer/spm"), 400);
}

#[test]
fn a_sentencepiece_model_that_normalises_gives_the_ids_of_sentencepiece_and_says_who_else_does_not() {
    let dir = fixtures().join("tokenizer/spm_normalised");
    check("spm_normalised", &dir, 420);
    let notes = vocabulary(&dir, 420).notes().join("\n");
    assert!(notes.contains("texts are normalised first") && notes.contains("as they are"), "{notes}");
}

#[test]
fn a_plamo_tokenizer_gives_the_ids_of_llama_cpp_and_knows_its_end_of_turn() {
    let dir = fixtures().join("tokenizer/plamo");
    let n_vocab = fs::read_to_string(dir.join("tokenizer.jsonl")).unwrap().lines().count();
    // Rows of the embedding behind the vocabulary are unused tokens.
    check("plamo", &dir, n_vocab + 3);
    let tokenizer = through_a_file(&vocabulary(&dir, n_vocab));
    assert_eq!(tokenizer.special(Role::Eot), Some(4));
    assert!(tokenizer.is_end_of_generation(4) && !tokenizer.adds_bos());
    let text = "日本語 «x»\u{0} 🦙🦙";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text, true, false).unwrap(), false), text);
}

#[test]
fn lists_of_ranks_give_the_ids_of_tiktoken_and_mistral_common() {
    check("tiktoken", &fixtures().join("tokenizer/tiktoken"), 956);
    check("tekken", &fixtures().join("tokenizer/tekken"), 724);
}

#[test]
fn added_tokens_of_every_kind_are_matched_as_by_tokenizers() {
    let dir = fixtures().join("tokenizer/spm_json");
    check("spm_json", &dir, 406);
    let notes = vocabulary(&dir, 406).notes().join("\n");
    assert!(notes.contains("lstrip") && notes.contains("<left>"), "{notes}");
}

/// As [`check`], with control tokens read.
fn check_encoder(name: &str) {
    let dir = fixtures().join("tokenizer").join(name);
    let json: Value = serde_json::from_str(&fs::read_to_string(dir.join("tokenizer.json")).unwrap()).unwrap();
    let vocab = &json["model"]["vocab"];
    let n_vocab = vocab.as_array().map_or_else(|| vocab.as_object().unwrap().len(), Vec::len);
    let vocabulary = vocabulary(&dir, n_vocab);
    assert_eq!(vocabulary.notes().iter().filter(|note| !note.contains("<mask>")).count(), 0);
    let tokenizer = through_a_file(&vocabulary);
    for (text, ids, _) in cases(name) {
        assert_eq!(tokenizer.encode(&text, false, true).unwrap(), ids, "{name}: {text:?}");
    }
}

#[test]
fn wordpiece_tokenizers_give_the_ids_of_tokenizers() {
    check_encoder("wordpiece");
    check_encoder("wordpiece_cased");
}

#[test]
fn unigram_tokenizers_give_the_ids_of_tokenizers() {
    check_encoder("unigram");
    check_encoder("unigram_merged");
}

#[test]
fn pairs_of_texts_are_put_together_as_their_files_say() {
    for (name, n_vocab, ends, n_between) in
        [("wordpiece", 500, ["[CLS]", "[SEP]"], 1), ("unigram", 302, ["<s>", "</s>"], 2)]
    {
        let tokenizer = through_a_file(&vocabulary(&fixtures().join("tokenizer").join(name), n_vocab));
        let [begin, end] = ends.map(|text| tokenizer.encode(text, false, true).unwrap()[0]);
        let [first, second] =
            ["the lantern", "a clock"].map(|text| tokenizer.encode(text, false, true).unwrap());
        let expected = [vec![begin], first.clone(), vec![end; n_between], second, vec![end]].concat();
        let (ids, border) = tokenizer.encode_pair("the lantern", "a clock").unwrap();
        assert_eq!((ids, border), (expected, 1 + first.len() + n_between), "{name}");
    }
}

#[test]
fn tokens_that_are_not_utf8_are_bytes_and_no_text_becomes_one() {
    let tokens: [&[u8]; 8] =
        [b"<unk>", b"<s>", b"</s>", "▁".as_bytes(), b"a", b"\xe7\x8c", b"\xab", "\u{fffd}".as_bytes()];
    let header = GgufBytes::new(0, 4);
    let header = header.key("general.architecture", STRING).string("llama");
    let header = header.key("general.name", STRING).string(b"\xff");
    let header = header.key("tokenizer.ggml.model", STRING).string("llama");
    let header = header.array("tokenizer.ggml.tokens", STRING, tokens.len() as u64);
    let file = tokens.iter().fold(header, |header, token| header.string(token)).open().unwrap();
    let tokenizer = Tokenizer::from_metadata(file.metadata()).unwrap();
    assert_eq!(tokenizer.decode(&[4, 5, 6], false), "a猫");
    assert_eq!(tokenizer.token_text(5), Some("\u{fffd}"));
    assert_eq!(tokenizer.encode("a\u{fffd}", false, true).unwrap(), [3, 4, 7]);
}
