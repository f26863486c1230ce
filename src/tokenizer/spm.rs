//! SentencePiece BPE as GGUF calls `llama`: characters joined wherever the joined text is a token,
//! the token with the highest score first; what stays no token is spelled in byte tokens.
//!
//! Spaces travel as `▁` (U+2581). Unlike byte-level BPE there are no words: a text is one chain.

use std::borrow::Cow;

use super::merge::Merger;
use super::text_ids::TextIds;
use super::vocabulary::{SpacePrefix, TokenType};
use crate::error::{Error, Result};

/// Stands for a space in the vocabulary.
pub(super) const SPACE: char = '▁';

/// No token has this text.
const NO_TOKEN: u32 = u32::MAX;

/// Encodes ordinary text (no special tokens) of a SentencePiece vocabulary.
pub(super) struct Spm {
    /// Tokens that texts are made of: ordinary and user-defined ones.
    ids: TextIds,
    /// Priority of joining to token i: lower goes first.
    priorities: Vec<u32>,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    max_token_bytes: usize,
}

/// The text of the token for one byte, `<0x0A>`.
#[cfg(test)]
pub(super) fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// The byte that a token text like `<0x0A>` stands for.
pub(super) fn byte_of_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|c| c.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A key that is lower the higher the score, for every score that is a number.
fn priority(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits(); // -0.0 and 0.0 are one score
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

/// What stands before a stretch of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It begins the text.
    Nothing,
    /// A special token.
    Token,
    /// A special token that was found when the text was normalised already, and has its space.
    NormalizedToken,
}

impl Before {
    /// What stands before a stretch between special tokens, by the place in the text where it begins.
    pub(super) fn at(start: usize) -> Self {
        if start == 0 { Self::Nothing } else { Self::Token }
    }
}

/// What becomes of the spaces of a text before it is joined.
#[derive(PartialEq, Eq)]
pub(super) struct Spaces {
    /// Where one is put in front; `None` for nowhere.
    pub(super) prefix: Option<SpacePrefix>,
    /// Whether spaces at the ends go, and runs inside become one.
    pub(super) removes_extra: bool,
}

impl Spaces {
    /// `text` without the spaces that go, and whether one comes in front.
    pub(super) fn prepare<'t>(&self, text: &'t str, before: Before) -> (Cow<'t, str>, bool) {
        let text = if self.removes_extra { without_extra(text) } else { Cow::Borrowed(text) };
        let blank = text.starts_with([' ', SPACE]);
        let space = match self.prefix {
            None => false,
            Some(SpacePrefix::Always) => before != Before::NormalizedToken,
            Some(SpacePrefix::UnlessBlank) => !blank,
            Some(SpacePrefix::FirstUnlessBlank) => !blank && before == Before::Nothing,
        };
        let space = space && !text.is_empty();
        (text, space)
    }
}

fn without_extra(text: &str) -> Cow<'_, str> {
    let text = text.trim_start_matches(' ').trim_end_matches([' ', SPACE]);
    if !text.contains("  ") {
        return Cow::Borrowed(text);
    }
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join(" "))
}

impl Spm {
    /// Builds the tables of `tokens` (index = id), their `types` and their `scores`. Control, unknown
    /// and unused tokens never come of a text, however it spells them.
    pub(super) fn new(tokens: &[String], types: &[TokenType], scores: &[f32], unknown: Option<u32>) -> Self {
        let mut ids = TextIds::with_capacity(tokens.len());
        let mut byte_ids = [None; 256];
        for (id, (token, ty)) in tokens.iter().zip(types).enumerate() {
            let id = id as u32;
            if matches!(ty, TokenType::Normal | TokenType::UserDefined) {
                ids.get_or_insert(token, id);
            }
            // Where a file has no types, byte tokens are ordinary ones.
            if matches!(ty, TokenType::Normal | TokenType::Byte)
                && let Some(byte) = byte_of_token(token)
            {
                byte_ids[usize::from(byte)].get_or_insert(id);
            }
        }
        let bytes = std::array::from_fn(|byte| {
            let plain = (byte as u8).is_ascii().then(|| char::from(byte as u8).to_string());
            byte_ids[byte].or_else(|| ids.get(plain?))
        });
        let priorities = scores.iter().map(|&score| priority(score)).collect();
        let max_token_bytes = tokens.iter().map(String::len).max().unwrap_or(0);
        Self { ids, priorities, bytes, unknown, max_token_bytes }
    }

    /// Appends the ids of `text` to `ids`, with a space in front if `space_prefix`.
    ///
    /// # Errors
    /// `Usage` if a character has neither token nor byte tokens and the vocabulary has no
    /// unknown token.
    pub(super) fn encode(
        &self,
        text: &str,
        space_prefix: bool,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        let mut escaped = String::with_capacity(text.len() + text.len() / 2 + SPACE.len_utf8());
        escaped.extend(space_prefix.then_some(SPACE));
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        merger.clear();
        for (start, c) in escaped.char_indices() {
            let id = self.token(&escaped[start..start + c.len_utf8()]);
            merger.push(id, start as u32, c.len_utf8() as u32);
        }
        let joined = merger.merge(|left, right| {
            let id = self.token(&escaped[left.start as usize..(right.start + right.len) as usize]);
            (id != NO_TOKEN).then(|| (self.priorities[id as usize], id))
        });
        for symbol in joined {
            if symbol.id != NO_TOKEN {
                ids.push(symbol.id);
                continue;
            }
            let (start, end) = (symbol.start as usize, (symbol.start + symbol.len) as usize);
            self.spell(&escaped[start..end], ids)?;
        }
        Ok(())
    }

    fn token(&self, text: &str) -> u32 {
        if text.len() > self.max_token_bytes {
            return NO_TOKEN;
        }
        self.ids.get(text).unwrap_or(NO_TOKEN)
    }

    fn spell(&self, character: &str, ids: &mut Vec<u32>) -> Result<()> {
        let bytes: Option<Vec<u32>> = character.bytes().map(|byte| self.bytes[usize::from(byte)]).collect();
        match (bytes, self.unknown) {
            (Some(bytes), _) => ids.extend(bytes),
            (None, Some(unknown)) => ids.push(unknown),
            (None, None) => {
                return Err(Error::usage(format!(
                    "the model's vocabulary has no token for {character:?}, no byte tokens and \
                     no unknown token; \
                     leave the character out"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spm(tokens: &[(&str, f32)], unknown: Option<u32>) -> Spm {
        let (texts, scores): (Vec<_>, Vec<_>) = tokens.iter().map(|&(t, s)| (t.to_owned(), s)).unzip();
        Spm::new(&texts, &vec![TokenType::Normal; texts.len()], &scores, unknown)
    }

    fn encode(spm: &Spm, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        spm.encode(text, false, &mut Merger::default(), &mut ids).unwrap();
        ids
    }

    #[test]
    fn the_highest_score_joins_first() {
        let tokens = [("a", 0.0), ("b", 0.0), ("c", 0.0), ("ab", -2.0), ("bc", -1.0), ("abc", -3.0)];
        assert_eq!(encode(&spm(&tokens[..5], None), "abc"), [0, 4]);
        assert_eq!(encode(&spm(&tokens, None), "abc"), [5]);
    }

    #[test]
    fn spaces_are_escaped_and_prefixed() {
        let spm = spm(&[("▁", 0.0), ("a", 0.0), ("▁a", -1.0)], None);
        let mut ids = Vec::new();
        spm.encode("a a", true, &mut Merger::default(), &mut ids).unwrap();
        assert_eq!(ids, [2, 2]);
    }

    #[test]
    fn characters_without_token_are_spelled_in_bytes_else_unknown_else_an_error() {
        let with_bytes = spm(&[("<unk>", 0.0), ("<0xC3>", 0.0), ("<0xA4>", 0.0)], Some(0));
        assert_eq!(encode(&with_bytes, "ä"), [1, 2]);
        assert_eq!(encode(&with_bytes, "ö"), [0]);
        let bare = spm(&[("a", 0.0)], None);
        let error = bare.encode("ö", false, &mut Merger::default(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("'ö'") || error.to_string().contains("\"ö\""), "{error}");
    }

    #[test]
    fn control_unknown_and_unused_tokens_never_come_of_a_text() {
        let texts = ["<", "s", ">", "<s", "<s>"].map(str::to_owned);
        let (mut types, scores) = ([TokenType::Normal; 5], [-1.0; 5]);
        for ty in [TokenType::Control, TokenType::Unknown, TokenType::Unused, TokenType::Byte] {
            types[4] = ty;
            assert_eq!(encode(&Spm::new(&texts, &types, &scores, None), "<s>"), [3, 2], "{ty:?}");
        }
        types[4] = TokenType::UserDefined;
        assert_eq!(encode(&Spm::new(&texts, &types, &scores, None), "<s>"), [4]);
    }

    #[test]
    fn extra_spaces_go_where_the_model_wants_it() {
        let prepared = |prefix, removes_extra, text: &str, is_first| {
            let before = if is_first { Before::Nothing } else { Before::Token };
            let (text, space) = Spaces { prefix, removes_extra }.prepare(text, before);
            format!("{}{text}", if space { "_" } else { "" })
        };
        let always = Some(SpacePrefix::Always);
        assert_eq!(prepared(always, true, "  a   b c  ", true), "_a b c");
        assert_eq!(prepared(always, true, "   ", true), "");
        assert_eq!(prepared(always, false, " a  b ", false), "_ a  b ");
        assert_eq!(prepared(None, false, "a", true), "a");
        assert_eq!(prepared(Some(SpacePrefix::UnlessBlank), false, " a", true), " a");
        assert_eq!(prepared(Some(SpacePrefix::UnlessBlank), false, "a", false), "_a");
        assert_eq!(prepared(Some(SpacePrefix::FirstUnlessBlank), false, "a", false), "a");
        assert_eq!(prepared(Some(SpacePrefix::FirstUnlessBlank), false, "a", true), "_a");
    }

    #[test]
    fn priorities_order_scores_downwards() {
        let scores = [f32::INFINITY, 3.5, 0.0, -0.5, -1.0, -29999.0, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|s| priority(s[0]) < priority(s[1])));
        assert_eq!(priority(0.0), priority(-0.0));
    }

    #[test]
    fn byte_tokens_are_written_in_upper_case_hexadecimal() {
        assert_eq!(byte_token(0x0A), "<0x0A>");
        assert_eq!(byte_of_token("<0xfF>"), Some(0xFF));
        for text in ["<0x>", "<0x123>", "<0x+1>", "0x0A", "<0xé>"] {
            assert_eq!(byte_of_token(text), None, "{text}");
        }
    }
}
