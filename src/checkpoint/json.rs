//! Reads a JSON object from a file, within limits and with messages that say what to mend.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::regular_file;

/// How a pointer of git-lfs begins, which stands in a clone for a large file that was not fetched.
pub(super) const GIT_LFS: &[u8] = b"version https://git-lfs";

/// What to do about such a pointer.
pub(super) const FETCH_FROM_GIT_LFS: &str =
    "it is a git-lfs pointer: fetch the file itself with `git lfs pull`";

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// As [`regular_file::read`], and [`Error::Malformed`] if it is not UTF-8.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String> {
    text_of(path, regular_file::read(path, limit)?)
}

/// The text that `bytes`, the content of the file at `path`, encode.
///
/// # Errors
/// [`Error::Malformed`] if it is not UTF-8.
pub(super) fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|e| Error::malformed(path, format!("byte {} is not UTF-8", e.utf8_error().valid_up_to())))
}

/// Parses a JSON object; `path` names it in messages. Nesting is limited to 128 by the parser.
///
/// # Errors
/// [`Error::Malformed`] if the text is not JSON, or no object.
pub(super) fn parse_object(path: &Path, text: &str) -> Result<Map<String, Value>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::malformed(path, "it holds JSON, but not an object in braces")),
        Err(e) => Err(Error::malformed(path, explain(text, &e))),
    }
}

/// The words that Python's `json` writes for numbers that JSON has no spelling for.
const NUMBER_WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Each word as null.
pub(super) const NULLS: [&str; 3] = ["null"; 3];

/// Each word as a string: no number, and still there to be named.
pub(super) const STRINGS: [&str; 3] = ["\"-Infinity\"", "\"Infinity\"", "\"NaN\""];

/// `text` with `spellings` in place of Python's number words outside strings; the words with their lines.
pub(super) fn without_number_words(
    text: &str,
    spellings: [&'static str; 3],
) -> (String, Vec<(usize, &'static str)>) {
    let (mut out, mut found) = (String::with_capacity(text.len()), Vec::new());
    let (mut rest, mut line, mut in_string) = (text, 1, false);
    while let Some(c) = rest.chars().next() {
        let mut words = NUMBER_WORDS.into_iter().zip(spellings);
        let word = words.find(|(word, _)| !in_string && rest.starts_with(word));
        let (taken, kept) = match (word, c) {
            (Some((word, spelling)), _) => {
                found.push((line, word));
                (word.len(), spelling)
            }
            // A backslash takes the character behind it along.
            (None, '\\') if in_string => {
                let n = rest.chars().take(2).map(char::len_utf8).sum();
                (n, &rest[..n])
            }
            _ => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        in_string ^= c == '"';
        line += usize::from(c == '\n');
        out.push_str(kept);
        rest = &rest[taken..];
    }
    (out, found)
}

/// What is wrong with the text, with the place and, for known slips, the remedy.
fn explain(text: &str, e: &serde_json::Error) -> String {
    if text.as_bytes().starts_with(GIT_LFS) {
        return FETCH_FROM_GIT_LFS.into();
    }
    let line = text.lines().nth(e.line().saturating_sub(1)).unwrap_or_default();
    for token in NUMBER_WORDS {
        // The parser stops somewhere inside the token, so its start is looked for before that.
        let found = line.match_indices(token).find(|(at, _)| e.column().abs_diff(at + 1) <= token.len());
        if e.is_syntax() && found.is_some() {
            return format!(
                "line {}: JSON has no {token}; write a finite number, or null where the value is not set",
                e.line()
            );
        }
    }
    format!("not valid JSON: {e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse_object(Path::new("config.json"), text).unwrap_err().to_string()
    }

    #[test]
    fn python_number_words_are_named() {
        for token in ["NaN", "Infinity", "-Infinity"] {
            let text = format!("{{\n  \"rms_norm_eps\": {token}\n}}");
            let message = message(&text);
            assert!(message.contains(&format!("line 2: JSON has no {token}")), "{message}");
        }
    }

    #[test]
    fn a_word_inside_a_string_is_not_blamed() {
        let message = message("{\"name\": \"NaN\", }");
        assert!(message.contains("not valid JSON"), "{message}");
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_stack_overflow() {
        let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert!(message(&deep).contains("recursion limit"));
    }

    #[test]
    fn other_shapes_and_pointers_are_told_apart() {
        assert!(message("[1]").contains("not an object"));
        assert!(message("version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
        assert!(parse_object(Path::new("x"), "\u{feff}{}").unwrap().is_empty());
    }
}
