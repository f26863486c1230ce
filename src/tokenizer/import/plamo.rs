//! The vocabulary of PLaMo 2 and 3: a text file of a line for each token, in the order of their ids: a JSON list of the
//! token, its score, its type and what serves its authors alone.

use std::path::PathBuf;

use serde_json::Value;

use super::Parts;
use super::settings::Settings;
use super::token_list::TokenList;
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::vocabulary::{Kind, TokenType, Vocabulary};

/// The file that all models have.
pub(super) const NAME: &str = "tokenizer.jsonl";

/// What ends a turn: no file beside the vocabulary says so.
const END_OF_TURN: &str = "<|plamo:op|>";

/// The file in `folder`, if it is there.
///
/// # Errors
/// As [`Folder::read_text`].
pub(super) fn open(folder: &Folder) -> Result<Option<(PathBuf, String)>> {
    Ok(folder.read_text(NAME, MAX_JSON_BYTES)?.map(|text| (folder.join(NAME), text)))
}

/// Reads the vocabulary in `text`, the file at `path`, for a model with `n_vocab` rows.
///
/// # Errors
/// `Malformed` for a line that is not of that form.
pub(super) fn read(
    (path, text): &(PathBuf, String),
    settings: &Settings<'_>,
    n_vocab: usize,
) -> Result<Vocabulary> {
    let mut list = TokenList::new(path, n_vocab);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (id, (number, line)) in lines.enumerate() {
        let (token, score, ty) = token_of(line).ok_or_else(|| {
            let what = format!("line {} is not a list of a token, its score and its type", number + 1);
            Error::malformed(path, what)
        })?;
        list.set(id, &token, ty, score)?;
    }
    let end = list.id_of(END_OF_TURN).map(|id| id as u32);
    let parts = Parts { ids: vec![(Role::Eot, end)], ..Parts::new(Kind::Plamo, list.finish()) };
    parts.assemble(None, settings)
}

/// The token of a line, its score and its type.
fn token_of(line: &str) -> Option<(String, f32, TokenType)> {
    let row: Vec<Value> = serde_json::from_str(line).ok()?;
    let [Value::String(token), score, rest @ ..] = &row[..] else { return None };
    let ty = match rest.first() {
        None => "NORMAL",
        Some(ty) => ty.as_str()?,
    };
    let ty = match ty {
        "UNKNOWN" => TokenType::Unknown,
        "CONTROL" => TokenType::Control,
        "BYTE" => TokenType::Byte,
        _ if token.starts_with("<|plamo:") && token.ends_with("|>") => TokenType::Control,
        _ => TokenType::Normal,
    };
    Some((token.clone(), score.as_f64()? as f32, ty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_lists_of_tokens_scores_and_types() {
        for (line, expected) in [
            (r#"["<|plamo:unk|>", 0.0, "UNKNOWN", "", 0, 0, 0]"#, ("<|plamo:unk|>", 0.0, TokenType::Unknown)),
            (r#"["<|plamo:bos|>", 0.0, "CONTROL"]"#, ("<|plamo:bos|>", 0.0, TokenType::Control)),
            (r#"["<|plamo:msg|>", -3, "NORMAL"]"#, ("<|plamo:msg|>", -3.0, TokenType::Control)),
            (r#"["<0x0A>", 0.0, "BYTE"]"#, ("<0x0A>", 0.0, TokenType::Byte)),
            (r#"["\u3042\n", -12.5]"#, ("あ\n", -12.5, TokenType::Normal)),
        ] {
            let (token, score, ty) = token_of(line).expect(line);
            assert_eq!((token.as_str(), score, ty), expected);
        }
        for line in ["", "{}", "[]", r#"["a"]"#, r#"[1, 2.0]"#, r#"["a", "b"]"#, r#"["a", 1.0, 2]"#] {
            assert!(token_of(line).is_none(), "{line}");
        }
    }
}
