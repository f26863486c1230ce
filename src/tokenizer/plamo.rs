//! PLaMo 2's tokenizer, which GGUF calls `plamo2`: of all ways to spell a text in tokens the one with the greatest sum of
//! scores, in whole ten-thousandths; a character may also be spelled in the tokens of its bytes, at the cost of a score
//! of -1000.
//!
//! The best way from each place to the end, from right to left over the characters: by every token that begins there, of
//! equal ways that with the longest first token, and the bytes only where no token is as good. Tokens with scores of
//! -2000 and less are never taken. A mark of the order of bytes (U+FEFF) in front of a text is dropped.

use super::spm::byte_of_token;
use super::trie::Trie;
use super::vocabulary::TokenType;
use crate::error::{Error, Result};

/// Parts of a score that count.
const PARTS: f64 = 1e4;
/// What the bytes of a character cost, and from where on tokens are never taken, in such parts.
const BYTES_COST: i64 = 10_000_000;
const MOST_COST: i64 = 20_000_000;

/// Encodes ordinary text of a PLaMo vocabulary.
pub(super) struct Plamo {
    trie: Trie,
    /// What each token costs.
    costs: Vec<i64>,
    /// The tokens of the bytes.
    bytes: Box<[Option<u32>; 256]>,
}

/// The best way from a place to the end of the text.
#[derive(Clone, Copy)]
struct Best {
    cost: i64,
    /// Bytes of its first token.
    len: u32,
    /// That token; `None` for a character in bytes.
    id: Option<u32>,
}

impl Plamo {
    /// Builds the tables of `tokens` (index = id), their `types` and `scores`: ordinary and user-defined ones are found
    /// in texts.
    pub(super) fn new(tokens: &[String], types: &[TokenType], scores: &[f32]) -> Self {
        let costs: Vec<i64> = scores
            .iter()
            .map(|&score| match score.is_finite() {
                true => -((f64::from(score) * PARTS).round() as i64),
                false => MOST_COST,
            })
            .collect();
        let is_word = |id: usize| {
            matches!(types[id], TokenType::Normal | TokenType::UserDefined) && costs[id] < MOST_COST
        };
        let words = (0..tokens.len()).filter(|&id| is_word(id)).map(|id| (tokens[id].as_str(), id as u32));
        let mut bytes = Box::new([None; 256]);
        for (id, token) in tokens.iter().enumerate().filter(|(id, _)| types[*id] == TokenType::Byte) {
            if let Some(byte) = byte_of_token(token) {
                bytes[usize::from(byte)] = Some(id as u32);
            }
        }
        Self { trie: Trie::new(words), costs, bytes }
    }

    /// Appends the ids of `text` to `ids`.
    ///
    /// # Errors
    /// `Usage` for a byte that has to be spelled and has no token.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let end = Best { cost: 0, len: 0, id: None };
        let mut best = vec![end; text.len() + 1];
        for (at, c) in text.char_indices().rev() {
            let n = c.len_utf8();
            let mut own = Best { cost: best[at + n].cost + BYTES_COST, len: n as u32, id: None };
            // Shorter ones come first.
            for (len, id) in self.trie.prefixes(&text.as_bytes()[at..]) {
                let cost = best[at + len].cost + self.costs[id as usize];
                if cost <= own.cost {
                    own = Best { cost, len: len as u32, id: Some(id) };
                }
            }
            best[at] = own;
        }
        let mut at = 0;
        while at < text.len() {
            let Best { len, id, .. } = best[at];
            let end = at + len as usize;
            match id {
                Some(id) => ids.push(id),
                None => {
                    for &byte in &text.as_bytes()[at..end] {
                        ids.push(self.bytes[usize::from(byte)].ok_or_else(|| unspellable(byte))?);
                    }
                }
            }
            at = end;
        }
        Ok(())
    }
}

fn unspellable(byte: u8) -> Error {
    Error::usage(format!("the model's vocabulary has no token for the byte 0x{byte:02x}; leave it out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::spm::byte_token;

    /// The bytes, then these tokens.
    fn plamo(words: &[(&str, f32)]) -> Plamo {
        let mut tokens: Vec<String> = (0..=255).map(byte_token).collect();
        let mut types = vec![TokenType::Byte; 256];
        let mut scores = vec![0.0; 256];
        for (word, score) in words {
            tokens.push((*word).to_owned());
            types.push(if word.starts_with("<|") { TokenType::Control } else { TokenType::Normal });
            scores.push(*score);
        }
        Plamo::new(&tokens, &types, &scores)
    }

    fn ids(plamo: &Plamo, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        plamo.encode(text, &mut ids).expect("all bytes have tokens");
        ids
    }

    #[test]
    fn the_greatest_sum_of_scores_wins_and_of_equals_the_longest_first() {
        let plamo =
            plamo(&[("a", -3.0), ("b", -3.0), ("ab", -5.0), ("bc", -2.0), ("c", -4.0), ("abc", -9.0)]);
        assert_eq!(ids(&plamo, "abc"), [256, 259], "-5 is more than -9, twice");
        assert_eq!(ids(&plamo, "ab"), [258]);
        assert_eq!(ids(&plamo, "abab"), [258, 258]);
        let equal = tests::plamo(&[("a", -1.0), ("b", -1.0), ("ab", -2.0), ("c", -1.0), ("bc", -2.0)]);
        assert_eq!(ids(&equal, "abc"), [258, 259]);
    }

    #[test]
    fn characters_without_a_token_are_spelled_in_bytes() {
        let plamo = plamo(&[("a", -1.0), ("é", -1000.5), ("b", -2000.0), ("<|plamo:bos|>", 0.0)]);
        assert_eq!(ids(&plamo, "aé"), [256, 0xc3, 0xa9], "bytes cost less");
        assert_eq!(ids(&plamo, "b"), [0x62], "never taken");
        assert_eq!(ids(&plamo, "<|a"), [0x3c, 0x7c, 256]);
        assert_eq!(ids(&plamo, "\u{feff}a"), [256]);
        let all: Vec<u32> =
            "<|plamo:bos|>".bytes().map(|byte| if byte == b'a' { 256 } else { byte.into() }).collect();
        assert_eq!(ids(&plamo, "<|plamo:bos|>"), all, "control tokens are not read in ordinary text");
    }
}
