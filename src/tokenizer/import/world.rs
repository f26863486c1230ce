//! RWKV's World vocabulary: a text file of a line for each token, with its id, the token as Python spells a string or a
//! `bytes` object, and its length in bytes.

use std::path::PathBuf;
use std::str::Chars;

use super::Parts;
use super::settings::Settings;
use super::token_list::TokenList;
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::vocabulary::{Kind, TokenType, Vocabulary};
use crate::tokenizer::world::spelled;

/// The file that all models have.
pub(super) const NAME: &str = "rwkv_vocab_v20230424.txt";

/// What begins and ends texts: id 0, which the file leaves out.
const BORDER: &str = "<s>";

/// The token of an empty line, which ends turns.
const EMPTY_LINE: &[u8] = b"\n\n";

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
    list.set(0, BORDER, TokenType::Control, 0.0)?;
    let mut empty_line = None;
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (id, bytes) = token_of(line).ok_or_else(|| {
            let what = format!("line {} is not an id, a token in quotes and its length in bytes", i + 1);
            Error::malformed(path, what)
        })?;
        if bytes == EMPTY_LINE {
            empty_line = Some(id as u32);
        }
        list.set(id, &spelled(&bytes), TokenType::Normal, 0.0)?;
    }
    let parts = Parts {
        ids: vec![(Role::Bos, Some(0)), (Role::Eos, Some(0)), (Role::Eot, empty_line)],
        ..Parts::new(Kind::World, list.finish())
    };
    parts.assemble(None, settings)
}

/// The id and the bytes of a line.
fn token_of(line: &str) -> Option<(usize, Vec<u8>)> {
    let (id, rest) = line.split_once(' ')?;
    let (literal, len) = rest.trim_end().rsplit_once(' ')?;
    let bytes = literal_bytes(literal)?;
    (Some(bytes.len()) == len.parse().ok()).then_some((id.parse().ok()?, bytes))
}

/// The bytes of a string of Python, in UTF-8, or of a `bytes` object.
fn literal_bytes(literal: &str) -> Option<Vec<u8>> {
    let (is_bytes, quoted) = match literal.strip_prefix('b') {
        Some(quoted) => (true, quoted),
        None => (false, literal),
    };
    let quote = quoted.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = quoted.get(1..quoted.len().checked_sub(1)?).filter(|_| quoted.ends_with(quote))?;
    let mut bytes = Vec::new();
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        let c = match c {
            '\\' => match rest.next()? {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'x' if is_bytes => {
                    bytes.push(hexadecimal(&mut rest, 2)? as u8);
                    continue;
                }
                'x' => char::from_u32(hexadecimal(&mut rest, 2)?)?,
                'u' => char::from_u32(hexadecimal(&mut rest, 4)?)?,
                'U' => char::from_u32(hexadecimal(&mut rest, 8)?)?,
                c @ ('\\' | '\'' | '"') => c,
                _ => return None,
            },
            c => c,
        };
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(bytes)
}

/// The number that the next `n` digits are.
fn hexadecimal(rest: &mut Chars<'_>, n: usize) -> Option<u32> {
    let digits: String = rest.take(n).collect();
    u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are what Python's `ast.literal_eval` gives.
    #[test]
    fn lines_are_read_as_python_reads_them() {
        for (line, expected) in [
            (r"1 '\x00' 1", (1, &b"\0"[..])),
            (r"161 b'\xe2\x80' 2", (161, b"\xe2\x80")),
            (r#"8 "it's" 4"#, (8, b"it's")),
            (r"9 '\xe9 \u2028\\' 7", (9, "é \u{2028}\\".as_bytes())),
            ("10 ' a b' 4", (10, b" a b")),
            (r"11 '\n\n' 2", (11, b"\n\n")),
        ] {
            assert_eq!(token_of(line), Some((expected.0, expected.1.to_vec())), "{line}");
        }
        for line in ["", "1", "1 'a'", "1 'a' 2", "x 'a' 1", "1 'a 1", "1 a 1", r"1 '\q' 1", r"1 b'\xg0' 1"] {
            assert_eq!(token_of(line), None, "{line}");
        }
    }
}
