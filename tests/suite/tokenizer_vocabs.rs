//! Ids equal the expected ones for every vocabulary in the folder that `GGUF_VOCABS` names.
//!
//! A vocabulary is a `NAME.gguf` beside `NAME.gguf.inp` (texts, with a line `__ggml_vocab_test__`
//! between them) and `NAME.gguf.out` (ids, one line per text, no tokens added around them).

use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::gguf::GgufFile;
use gguf_kit::tokenizer::{Tokenizer, Vocabulary};

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

/// The vocabularies with expectations, or `None` without the environment variable.
fn vocabularies() -> Option<Vec<PathBuf>> {
    let folder = crate::common::required_variable("GGUF_VOCABS")?;
    let entries = fs::read_dir(&folder).expect("GGUF_VOCABS names a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "gguf") && beside(path, "inp").exists());
    paths.sort();
    assert!(!paths.is_empty(), "no vocabularies with expectations in {}", Path::new(&folder).display());
    Some(paths)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn open(path: &Path) -> Tokenizer {
    let file = GgufFile::open(path).unwrap();
    Tokenizer::from_metadata(file.metadata()).unwrap()
}

/// Texts and their expected ids.
fn expectations(path: &Path) -> Vec<(String, Vec<u32>)> {
    let texts = fs::read_to_string(beside(path, "inp")).unwrap();
    let ids = fs::read_to_string(beside(path, "out")).unwrap();
    let mut texts: Vec<&str> = texts.split(SEPARATOR).collect();
    texts.pop_if(|last| last.is_empty()); // what follows the last separator
    let lines: Vec<&str> = ids.lines().collect();
    assert_eq!(texts.len(), lines.len(), "{}", path.display());
    let parse = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    texts.iter().zip(lines).map(|(&text, line)| (text.to_owned(), parse(line))).collect()
}

#[test]
fn ids_equal_the_expected_ones() {
    for path in vocabularies().unwrap_or_default() {
        let tokenizer = open(&path);
        for (text, expected) in expectations(&path) {
            let ids = tokenizer.encode(&text, false, false).unwrap();
            assert_eq!(ids, expected, "{}: {text:?}", path.display());
        }
    }
}

#[test]
fn decoding_gives_the_text_back() {
    for path in vocabularies().unwrap_or_default() {
        let tokenizer = open(&path);
        for (text, ids) in expectations(&path) {
            assert_eq!(tokenizer.decode(&ids, false), text, "{}", path.display());
        }
    }
}

#[test]
fn keys_are_written_as_they_were_read() {
    for path in vocabularies().unwrap_or_default() {
        let file = GgufFile::open(&path).unwrap();
        let vocabulary = Vocabulary::from_metadata(file.metadata()).unwrap();
        let mut written: Vec<String> = vocabulary.to_metadata().into_iter().map(|(key, _)| key).collect();
        let mut read: Vec<&str> =
            file.metadata().keys().filter(|key| key.starts_with("tokenizer.")).collect();
        written.sort();
        read.sort();
        assert_eq!(written, read, "{}", path.display());
    }
}
