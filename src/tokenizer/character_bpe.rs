//! BPE over characters, as Gemma 4 has it and GGUF calls `gemma4`: the merge list of a byte-level BPE, the
//! alphabet of SentencePiece.
//!
//! Spaces travel as `▁` (U+2581). There are no words: a text is one chain of characters, and the pair that
//! stands first in the merge list is joined first. A character without a token is spelled in byte tokens.

use std::collections::HashMap;

use super::merge::Merger;
use super::spm::{SPACE, byte_of_token};
use super::text_ids::{Merges, TextIds};
use super::vocabulary::TokenType;
use crate::error::{Error, Result};

/// No token has this text.
const NO_TOKEN: u32 = u32::MAX;

/// Encodes ordinary text (no special tokens) of a vocabulary with merges over characters.
pub(super) struct CharacterBpe {
    /// Tokens of one character.
    characters: HashMap<char, u32>,
    merges: Merges,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
}

impl CharacterBpe {
    /// Builds the tables of `tokens` (index = id), their `types`, and `merges` (`left right`, best first).
    /// Control, unknown and unused tokens never come of a text. A merge of or to something that is not a token
    /// can never apply and is left out, as is a pair's second mention.
    pub(super) fn new<'a>(
        tokens: &[String],
        types: &[TokenType],
        merges: impl Iterator<Item = (&'a str, &'a str)>,
        unknown: Option<u32>,
    ) -> Self {
        let mut ids = TextIds::with_capacity(tokens.len());
        let (mut characters, mut bytes) = (HashMap::new(), [None; 256]);
        for (id, (token, ty)) in (0..).zip(tokens.iter().zip(types)) {
            if matches!(ty, TokenType::Normal | TokenType::UserDefined) {
                ids.get_or_insert(token, id);
                let mut chars = token.chars();
                if let (Some(character), None) = (chars.next(), chars.next()) {
                    characters.entry(character).or_insert(id);
                }
            }
            // Where a file has no types, byte tokens are ordinary ones.
            if matches!(ty, TokenType::Normal | TokenType::Byte)
                && let Some(byte) = byte_of_token(token)
            {
                bytes[usize::from(byte)].get_or_insert(id);
            }
        }
        let mut pairs = Merges::with_capacity(merges.size_hint().1.unwrap_or(0));
        let mut joined = String::new();
        for (rank, (left, right)) in (0..).zip(merges) {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            if let (Some(left), Some(right), Some(joined)) = (ids.get(left), ids.get(right), ids.get(&joined))
            {
                pairs.entry((left, right)).or_insert((rank, joined));
            }
        }
        Self { characters, merges: pairs, bytes, unknown }
    }

    /// Appends the ids of `text` to `ids`.
    ///
    /// # Errors
    /// `Usage` if a character has neither token nor byte tokens and the vocabulary has no unknown token.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) -> Result<()> {
        merger.clear();
        for (start, character) in text.char_indices() {
            let spelled = if character == ' ' { SPACE } else { character };
            let id = self.characters.get(&spelled).copied().unwrap_or(NO_TOKEN);
            merger.push(id, start as u32, character.len_utf8() as u32);
        }
        for symbol in merger.merge(|left, right| self.merges.get(&(left.id, right.id)).copied()) {
            if symbol.id == NO_TOKEN {
                let start = symbol.start as usize;
                self.spell(&text[start..start + symbol.len as usize], ids)?;
            } else {
                ids.push(symbol.id);
            }
        }
        Ok(())
    }

    fn spell(&self, character: &str, ids: &mut Vec<u32>) -> Result<()> {
        let character = if character == " " { "▁" } else { character };
        let bytes: Option<Vec<u32>> = character.bytes().map(|byte| self.bytes[usize::from(byte)]).collect();
        match (bytes, self.unknown) {
            (Some(bytes), _) => ids.extend(bytes),
            (None, Some(unknown)) => ids.push(unknown),
            (None, None) => {
                return Err(Error::usage(format!(
                    "the model's vocabulary has no token for {character:?}, no byte tokens and no unknown \
                     token; leave the character out"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [&str; 9] = ["<unk>", "<0xC3>", "<0xA4>", "a", "b", "▁", "ab", "▁a", "\n\n"];

    fn encode(merges: &[(&str, &str)], text: &str) -> Vec<u32> {
        let tokens = TOKENS.map(str::to_owned);
        let mut types = [TokenType::Normal; TOKENS.len()];
        types[0] = TokenType::Unknown;
        let bpe = CharacterBpe::new(&tokens, &types, merges.iter().copied(), Some(0));
        let mut ids = Vec::new();
        bpe.encode(text, &mut Merger::default(), &mut ids).expect("an unknown token");
        ids
    }

    #[test]
    fn the_first_merge_of_the_list_goes_first() {
        assert_eq!(encode(&[("a", "b"), ("▁", "a")], " ab"), [5, 6]);
        assert_eq!(encode(&[("▁", "a"), ("a", "b")], " ab"), [7, 4]);
    }

    #[test]
    fn merges_of_what_is_no_token_are_left_out() {
        assert_eq!(encode(&[("b", "a"), ("c", "a"), ("a", "b")], "bab"), [4, 6]);
    }

    #[test]
    fn characters_without_token_are_spelled_in_bytes_else_unknown() {
        assert_eq!(encode(&[], "aäö\n"), [3, 1, 2, 0, 0]);
        let types = [TokenType::Normal];
        let bare = CharacterBpe::new(&["a".to_owned()], &types, std::iter::empty(), None);
        let error = bare.encode("a ", &mut Merger::default(), &mut Vec::new()).expect_err("no space");
        assert!(error.to_string().contains("\"▁\""), "{error}");
    }
}
