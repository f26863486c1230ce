//! Ids back to text, whole or as they come.
//!
//! A token is a run of bytes, not of characters: a `猫` may arrive in three tokens. Text is handed out
//! in whole characters only; bytes that cannot become one are replaced by U+FFFD as soon as that is
//! certain, exactly where [`String::from_utf8_lossy`] would on the bytes as a whole.

use std::collections::HashSet;

use super::byte_chars;
use super::spm;
use super::vocabulary::{Kind, TokenType, Vocabulary};
use super::world;

/// The bytes that each token shows.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Token i's bytes end here, and the next one's start.
    ends: Vec<usize>,
    /// Control and unknown tokens: shown on request only.
    on_request: Vec<bool>,
}

impl Pieces {
    /// The pieces of the tokens of `vocabulary`, by `types`; those that are always `shown` are not on request.
    pub(super) fn new(vocabulary: &Vocabulary, types: &[TokenType], shown: &HashSet<u32>) -> Self {
        let tokens = &vocabulary.tokens;
        let mut pieces =
            Self { bytes: Vec::new(), ends: Vec::with_capacity(tokens.len()), on_request: Vec::new() };
        for (id, (token, &ty)) in (0..).zip(tokens.iter().zip(types)) {
            match vocabulary.raw.get(&id) {
                Some(bytes) => pieces.bytes.extend_from_slice(bytes),
                None => pieces.push(vocabulary.kind, token, ty),
            }
            pieces.ends.push(pieces.bytes.len());
            let is_hidden = matches!(ty, TokenType::Control | TokenType::Unknown);
            pieces.on_request.push(is_hidden && !shown.contains(&id));
        }
        pieces
    }

    fn push(&mut self, kind: Kind, token: &str, ty: TokenType) {
        match (ty, kind) {
            (TokenType::Unused | TokenType::Undefined, _) => {}
            (TokenType::Control | TokenType::Unknown | TokenType::UserDefined, _) => {
                self.bytes.extend_from_slice(token.as_bytes());
            }
            (TokenType::Byte, _) => self.bytes.extend(spm::byte_of_token(token)),
            (
                TokenType::Normal,
                Kind::SentencePiece | Kind::CharacterBpe | Kind::WordPiece | Kind::Unigram,
            ) => {
                for (i, part) in token.split(spm::SPACE).enumerate() {
                    self.bytes.extend((i > 0).then_some(b' '));
                    self.bytes.extend_from_slice(part.as_bytes());
                }
            }
            (TokenType::Normal, Kind::Plamo) => self.bytes.extend_from_slice(token.as_bytes()),
            (TokenType::Normal, Kind::World) => self.bytes.extend(world::bytes_of(token)),
            (TokenType::Normal, Kind::ByteLevelBpe) => {
                let start = self.bytes.len();
                if !byte_chars::push_bytes_of(token, &mut self.bytes) {
                    self.bytes.truncate(start);
                    self.bytes.extend_from_slice(token.as_bytes());
                }
            }
        }
    }

    /// The bytes of token `id`: none for a token that is not shown, or that there is not.
    pub(super) fn get(&self, id: u32, render_special: bool) -> &[u8] {
        let id = id as usize;
        match self.ends.get(id) {
            Some(&end) if render_special || !self.on_request[id] => {
                let start = if id == 0 { 0 } else { self.ends[id - 1] };
                &self.bytes[start..end]
            }
            _ => &[],
        }
    }
}

/// Turns ids into text as they come, in whole characters.
pub struct StreamDecoder<'a> {
    pieces: &'a Pieces,
    render_special: bool,
    /// A space at the very start was put there by the tokenizer and is not part of the text.
    drop_space: bool,
    /// Bytes of a character that is not complete yet; at most three between calls.
    pending: Vec<u8>,
    text: String,
}

impl<'a> StreamDecoder<'a> {
    pub(super) fn new(pieces: &'a Pieces) -> Self {
        Self { pieces, render_special: false, drop_space: false, pending: Vec::new(), text: String::new() }
    }

    /// Whether control tokens appear in the text; at first they do not.
    #[must_use]
    pub fn render_special(mut self, yes: bool) -> Self {
        self.render_special = yes;
        self
    }

    /// Whether to drop the first character if it is a space that the tokenizer put in front.
    #[must_use]
    pub(super) fn drop_space(mut self, yes: bool) -> Self {
        self.drop_space = yes;
        self
    }

    /// Takes the next token and returns the text that has become certain with it: possibly nothing.
    pub fn push(&mut self, id: u32) -> &str {
        self.text.clear();
        let mut bytes = self.pieces.get(id, self.render_special);
        if self.drop_space && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            self.drop_space = false;
        }
        self.pending.extend_from_slice(bytes);
        let kept = self.take_certain();
        self.pending.drain(..kept);
        &self.text
    }

    /// Returns what is still held back (U+FFFD for an incomplete character) and starts afresh.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.pending.is_empty() {
            self.pending.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }

    /// Moves all that is certain from `pending` to `text`; returns how many bytes that were.
    fn take_certain(&mut self) -> usize {
        let mut taken = 0;
        for chunk in self.pending.utf8_chunks() {
            self.text.push_str(chunk.valid());
            taken += chunk.valid().len();
            if chunk.invalid().is_empty() {
                continue;
            }
            let at_end = taken + chunk.invalid().len() == self.pending.len();
            if at_end && is_incomplete(chunk.invalid()) {
                break;
            }
            self.text.push(char::REPLACEMENT_CHARACTER);
            taken += chunk.invalid().len();
        }
        taken
    }
}

/// Whether `bytes` could become a character with more bytes after them.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::vocabulary::tests::{bpe_vocabulary, spm_vocabulary};

    /// Pieces with one byte token per byte (id = byte), then a control token 256 and an unused 257.
    fn byte_pieces() -> Pieces {
        let mut vocabulary = spm_vocabulary(&[]);
        vocabulary.tokens = (0..=255).map(spm::byte_token).collect();
        vocabulary.tokens.extend(["<s>", "[PAD1]", "▁a▁", "▁u"].map(str::to_owned));
        let mut types = vec![TokenType::Byte; 256];
        types.extend([TokenType::Control, TokenType::Unused, TokenType::Normal, TokenType::UserDefined]);
        Pieces::new(&vocabulary, &types, &HashSet::new())
    }

    fn streamed(bytes: &[u8]) -> Vec<String> {
        let pieces = byte_pieces();
        let mut decoder = StreamDecoder::new(&pieces);
        let mut parts: Vec<String> = bytes.iter().map(|&b| decoder.push(u32::from(b)).to_owned()).collect();
        parts.push(decoder.finish().to_owned());
        parts
    }

    #[test]
    fn characters_come_out_whole_with_their_last_byte() {
        assert_eq!(streamed("a猫".as_bytes()), ["a", "", "", "猫", ""]);
        assert_eq!(streamed("🦙".as_bytes()), ["", "", "", "🦙", ""]);
    }

    #[test]
    fn invalid_bytes_are_replaced_once_that_is_certain() {
        assert_eq!(streamed(b"\xe7\x8ca"), ["", "", "\u{fffd}a", ""]);
        assert_eq!(streamed(b"\xff"), ["\u{fffd}", ""]);
        assert_eq!(streamed(b"\xf0\x9f\xa6"), ["", "", "", "\u{fffd}"]);
    }

    #[test]
    fn the_stream_equals_the_lossy_whole_for_random_bytes() {
        let mut state = 1u64;
        for length in 0..600 {
            let bytes: Vec<u8> = (0..length % 24)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    b"a\xc3\xa9\xe7\x8c\xab\xf0\x9f\xa6\x99\xff\xed\xa0\x80\xf4\xc0"
                        [(state >> 33) as usize % 16]
                })
                .collect();
            assert_eq!(streamed(&bytes).concat(), String::from_utf8_lossy(&bytes), "{bytes:x?}");
        }
    }

    #[test]
    fn control_tokens_show_on_request_unused_and_absent_ones_never() {
        let pieces = byte_pieces();
        for id in [256, 257, 9999] {
            assert_eq!(StreamDecoder::new(&pieces).push(id), "");
        }
        let mut decoder = StreamDecoder::new(&pieces).render_special(true);
        assert_eq!(decoder.push(256), "<s>");
        assert_eq!(decoder.push(257), "");
    }

    #[test]
    fn the_space_in_front_is_dropped_once() {
        let pieces = byte_pieces();
        let mut decoder = StreamDecoder::new(&pieces).drop_space(true);
        assert_eq!(decoder.push(256), "");
        assert_eq!(decoder.push(258), "a ");
        assert_eq!(decoder.push(258), " a ");
    }

    #[test]
    fn user_defined_tokens_are_shown_as_they_stand() {
        let pieces = byte_pieces();
        assert_eq!(pieces.get(259, false), "▁u".as_bytes());
    }

    #[test]
    fn byte_level_pieces_are_bytes_and_foreign_characters_stand_for_themselves() {
        let normal = TokenType::Normal;
        let mut vocabulary = bpe_vocabulary(&[("Ġa", normal), ("Ã", normal), ("a b", normal)], &[]);
        let pieces = Pieces::new(&vocabulary, &vocabulary.types, &HashSet::new());
        assert_eq!(pieces.get(0, false), b" a");
        assert_eq!(pieces.get(1, false), b"\xc3");
        assert_eq!(pieces.get(2, false), b"a b");
        vocabulary.raw.insert(0, (*b"\xff").into());
        assert_eq!(Pieces::new(&vocabulary, &vocabulary.types, &HashSet::new()).get(0, false), b"\xff");
    }
}
