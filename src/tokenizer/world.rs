//! RWKV's World tokenizer: from the left, the longest token that the text goes on with. Tokens are runs of bytes, which
//! GGUF, where the kind is called `rwkv`, spells as Python spells a `bytes` object: `\n`, `\xff`, ` the`.

use super::trie::Trie;
use super::vocabulary::TokenType;
use crate::error::{Error, Result};

/// Encodes ordinary text of a World vocabulary.
pub(super) struct World {
    trie: Trie,
    unknown: Option<u32>,
}

impl World {
    /// Builds the trie of `tokens` (index = id) by their `types`: ordinary ones are found in texts.
    pub(super) fn new(tokens: &[String], types: &[TokenType], unknown: Option<u32>) -> Self {
        let ordinary = (0..).zip(tokens.iter().zip(types)).filter(|(_, (_, ty))| **ty == TokenType::Normal);
        let keys: Vec<(Vec<u8>, u32)> = ordinary.map(|(id, (token, _))| (bytes_of(token), id)).collect();
        Self { trie: Trie::new(keys.iter().map(|(key, id)| (key.as_slice(), *id))), unknown }
    }

    /// Appends the ids of `text` to `ids`.
    ///
    /// # Errors
    /// `Usage` for a byte that no token begins with if the vocabulary has no unknown token.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (len, id) = match self.trie.prefixes(rest).last() {
                Some(found) => found,
                None => (1, self.unknown.ok_or_else(|| unspellable(rest[0]))?),
            };
            ids.push(id);
            rest = &rest[len..];
        }
        Ok(())
    }
}

fn unspellable(byte: u8) -> Error {
    Error::usage(format!(
        "the model's vocabulary has no token for the byte 0x{byte:02x} and no unknown token; leave it out"
    ))
}

/// The bytes that a token spells: a backslash stands before what Python's would, and two hexadecimal digits follow `\x`.
pub(super) fn bytes_of(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b't') => bytes.push(b'\t'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b'x') => {
                let digit =
                    |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                bytes.push((16 * high + low) as u8);
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    bytes
}

/// The spelling of a token of these bytes.
pub(super) fn spelled(bytes: &[u8]) -> String {
    // Python takes double quotes around, and single ones as they are, where that saves backslashes.
    let quotes = bytes.contains(&b'\'') && !bytes.contains(&b'"');
    let mut token = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\t' => token.push_str("\\t"),
            b'\n' => token.push_str("\\n"),
            b'\r' => token.push_str("\\r"),
            b'\\' => token.push_str("\\\\"),
            b'\'' if !quotes => token.push_str("\\'"),
            b' '..=b'~' => token.push(char::from(byte)),
            _ => token.push_str(&format!("\\x{byte:02x}")),
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_token_is_taken_from_the_left() {
        let spelled = ["<s>", "a", "b", "ab", "abcd", "c", r"\xc3", r"\xa9", r"\xc3\xa9 ", r"\n", r"\n\n"];
        let tokens = spelled.map(str::to_owned);
        let mut types = [TokenType::Normal; 11];
        types[0] = TokenType::Control;
        let world = World::new(&tokens, &types, None);
        let ids = |text: &str| {
            let mut ids = Vec::new();
            world.encode(text, &mut ids).map(|()| ids)
        };
        assert_eq!(ids("abcab").unwrap(), [3, 5, 3]);
        assert_eq!(ids("abcdé é").unwrap(), [4, 8, 6, 7]);
        assert_eq!(ids("\n\n\n").unwrap(), [10, 9]);
        // Control tokens are not read in ordinary text.
        let error = ids("a<s>").unwrap_err().to_string();
        assert!(error.contains("0x3c"), "{error}");
    }

    /// The spellings are Python's `repr(bytes)[2:-1]`.
    #[test]
    fn spellings_are_those_of_python_and_read_back() {
        for (bytes, expected) in [
            (&b"a\t\n\r\\z"[..], r"a\t\n\r\\z"),
            (b"\x00\x7f\xff~ ", r"\x00\x7f\xff~ "),
            (b"it's", "it's"),
            (b"'\"", r#"\'""#),
            (b"\"", "\""),
        ] {
            assert_eq!(spelled(bytes), expected);
            assert_eq!(bytes_of(expected), bytes);
        }
    }

    #[test]
    fn spellings_that_end_early_are_no_harm() {
        assert_eq!(bytes_of("a\\"), b"a");
        assert_eq!(bytes_of("\\x"), [0]);
        assert_eq!(bytes_of("\\xf"), [0xf0]);
        assert_eq!(bytes_of("\\xzz"), [0]);
    }
}
