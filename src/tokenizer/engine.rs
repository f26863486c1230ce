//! The tokenizer of a model: text to ids and back.

use std::borrow::Cow;
use std::collections::HashSet;

use super::bpe::Bpe;
use super::decoder::{Pieces, StreamDecoder};
use super::literal::{self, Spellings, Vetoes};
use super::merge::Merger;
use super::pre_tokenizer::Splitter;
use super::special_ids::{self, Role, SpecialIds};
use super::special_tokens::{Fragment, SpecialTokens};
use super::spm::Spm;
use super::vocabulary::{Kind, TokenType, Vocabulary};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::limits::MAX_TEXT_BYTES;

/// Encodes and decodes with a model's vocabulary. Immutable; share it between threads.
pub struct Tokenizer {
    encoder: Encoder,
    specials: SpecialTokens,
    spellings: Spellings,
    pieces: Pieces,
    tokens: Vec<String>,
    types: Vec<TokenType>,
    ids: SpecialIds,
    end_of_generation: HashSet<u32>,
    adds_bos: bool,
    adds_eos: bool,
    adds_space_prefix: bool,
    chat_template: Option<String>,
    named_templates: Vec<(String, String)>,
}

enum Encoder {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
}

impl Tokenizer {
    /// The tokenizer that the metadata of a GGUF describe.
    ///
    /// # Errors
    /// As [`Vocabulary::from_metadata`]; `Malformed` if a token that should be added to every text is
    /// not named.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        Self::new(Vocabulary::from_metadata(metadata)?)
    }

    /// The tokenizer with `vocabulary`.
    ///
    /// # Errors
    /// `Usage` if the vocabulary adds a token to every text and does not say which; `Limit` for more
    /// special tokens than can be searched for.
    pub fn new(vocabulary: Vocabulary) -> Result<Self> {
        let resolved = special_ids::resolve(&vocabulary.tokens, &vocabulary.types, &vocabulary.ids);
        let specials = SpecialTokens::new(&vocabulary, &resolved.types)?;
        let pieces = Pieces::new(vocabulary.kind, &vocabulary.tokens, &resolved.types);
        let unknown = resolved.ids.get(Role::Unknown);
        let (encoder, bos_by_default) = match vocabulary.kind {
            Kind::ByteLevelBpe => {
                let splitter = Splitter::by_name(&vocabulary.pre).ok_or_else(|| {
                    Error::usage(format!("the pre-tokenizer {:?} is not supported", vocabulary.pre))
                })?;
                let adds_bos = splitter.adds_bos();
                let bpe = Bpe::new(&vocabulary.tokens, vocabulary.merge_pairs(), splitter, unknown);
                (Encoder::Bpe(Box::new(bpe)), adds_bos)
            }
            Kind::SentencePiece => {
                (Encoder::Spm(Box::new(Spm::new(&vocabulary.tokens, &vocabulary.scores, unknown))), true)
            }
        };
        let is_spm = vocabulary.kind == Kind::SentencePiece;
        Ok(Self {
            adds_bos: adds("bos", vocabulary.add_bos, bos_by_default, resolved.ids.get(Role::Bos))?,
            adds_eos: adds("eos", vocabulary.add_eos, false, resolved.ids.get(Role::Eos))?,
            adds_space_prefix: vocabulary.add_space_prefix.unwrap_or(is_spm) && is_spm,
            encoder,
            spellings: specials.spellings()?,
            specials,
            pieces,
            tokens: vocabulary.tokens,
            types: resolved.types,
            ids: resolved.ids,
            end_of_generation: resolved.end_of_generation,
            chat_template: vocabulary.chat_template,
            named_templates: vocabulary.named_templates,
        })
    }

    /// The ids of `text`.
    ///
    /// `add_special` puts the beginning and end tokens around it as the model wants them;
    /// `parse_special` reads control tokens spelled out in the text as such. Give `false` for text that
    /// users wrote. User-defined tokens are always read.
    ///
    /// # Errors
    /// `Limit` for a text above [`MAX_TEXT_BYTES`]; `Usage` for a character that the vocabulary has no
    /// way to spell.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        ids.extend(self.bos().filter(|_| add_special && self.adds_bos));
        self.encode_parts(text, parse_special, &Vetoes::NONE, &mut ids)?;
        ids.extend(self.eos().filter(|_| add_special && self.adds_eos));
        Ok(ids)
    }

    /// `text` with `mark`, a character that occurs nowhere else, in the places where control tokens
    /// could be read; [`Tokenizer::encode_marked`] then does not read them, whatever was written around
    /// the text and trimmed from it meanwhile. A text without such places is returned as it is.
    pub fn mark<'t>(&self, text: &'t str, mark: char) -> Cow<'t, str> {
        match self.spellings.spots(text) {
            spots if spots.is_empty() => Cow::Borrowed(text),
            spots => Cow::Owned(literal::marked(text, &spots, mark)),
        }
    }

    /// The ids of `text` without its marks. Control tokens are read, but those that marks forbid; no
    /// tokens are added around it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_marked(&self, text: &str, mark: char) -> Result<Vec<u32>> {
        let (plain, vetoes) = literal::unmarked(text, mark);
        let mut ids = Vec::with_capacity(plain.len() / 3 + 2);
        self.encode_parts(&plain, true, &vetoes, &mut ids)?;
        Ok(ids)
    }

    fn encode_parts(
        &self,
        text: &str,
        parse_special: bool,
        vetoes: &Vetoes,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        if text.len() > MAX_TEXT_BYTES {
            let what =
                format!("a text of {} bytes; the limit is {MAX_TEXT_BYTES}; encode it in parts", text.len());
            return Err(Error::limit(what));
        }
        let mut merger = Merger::default();
        let mut after_special = true;
        for fragment in self.specials.partition(text, parse_special, vetoes) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(ref range) => match &self.encoder {
                    Encoder::Bpe(bpe) => bpe.encode(&text[range.clone()], &mut merger, ids),
                    Encoder::Spm(spm) => {
                        let space = self.adds_space_prefix && after_special;
                        spm.encode(&text[range.clone()], space, &mut merger, ids)?;
                    }
                },
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        Ok(())
    }

    /// The text of `ids`; control tokens appear in it only if `render_special`. Bytes that are not
    /// UTF-8 become U+FFFD. A space that encoding puts in front of a text is taken off again.
    pub fn decode(&self, ids: &[u32], render_special: bool) -> String {
        let mut decoder = self.decoder().render_special(render_special).drop_space(self.adds_space_prefix);
        let mut text = String::new();
        for &id in ids {
            text.push_str(decoder.push(id));
        }
        text.push_str(decoder.finish());
        text
    }

    /// A decoder for ids that continue a text, such as a prompt.
    pub fn decoder(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(&self.pieces)
    }

    /// What token `id` shows, special or not; bytes that are no character by themselves are U+FFFD.
    pub fn piece(&self, id: u32) -> Option<Cow<'_, str>> {
        self.tokens.get(id as usize)?;
        Some(String::from_utf8_lossy(self.pieces.get(id, true)))
    }

    /// Token `id` in the file's own spelling, such as «Ġthe».
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// The type of token `id`, corrected where its text gives it away.
    pub fn token_type(&self, id: u32) -> Option<TokenType> {
        self.types.get(id as usize).copied()
    }

    /// Number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.tokens.len()
    }

    /// The token with `role`, named by the file or known by its text.
    pub fn special(&self, role: Role) -> Option<u32> {
        self.ids.get(role)
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.special(Role::Bos)
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.special(Role::Eos)
    }

    /// Whether texts start with [`Tokenizer::bos`].
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether texts end with [`Tokenizer::eos`].
    pub fn adds_eos(&self) -> bool {
        self.adds_eos
    }

    /// Whether a generation ends with token `id`: end of sequence, of turn, of message.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.end_of_generation.contains(&id)
    }

    /// The model's chat template, in Jinja.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The model's template for another purpose, such as `tool_use`.
    pub fn named_template(&self, name: &str) -> Option<&str> {
        self.named_templates.iter().find(|(known, _)| known == name).map(|(_, source)| source.as_str())
    }
}

/// Whether texts get the token `name`, by what the file says, else by what its kind does by default
/// where there is such a token.
fn adds(name: &str, file: Option<bool>, by_default: bool, id: Option<u32>) -> Result<bool> {
    match (file, id) {
        (Some(true), None) => Err(Error::usage(format!(
            "the model's metadata say tokenizer.ggml.add_{name}_token, but there is no \
             tokenizer.ggml.{name}_token_id; convert the model again"
        ))),
        (Some(adds), _) => Ok(adds),
        (None, id) => Ok(by_default && id.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::byte_chars;
    use crate::tokenizer::vocabulary::tests::{bpe_vocabulary, spm_vocabulary};

    /// Every byte as a token (id = byte), then `more`.
    fn byte_level(more: &[(&str, TokenType)], merges: &[&str]) -> Vocabulary {
        let bytes: Vec<String> = (0..=255).map(|byte| byte_chars::tests::char_of(byte).to_string()).collect();
        let tokens: Vec<(&str, TokenType)> =
            bytes.iter().map(|text| (text.as_str(), TokenType::Normal)).chain(more.iter().copied()).collect();
        bpe_vocabulary(&tokens, merges)
    }

    #[test]
    fn merges_apply_in_their_order_within_words() {
        let more = [("ab", TokenType::Normal), ("bc", TokenType::Normal), ("Ġab", TokenType::Normal)];
        let tokenizer = Tokenizer::new(byte_level(&more, &["b c", "a b", "Ġ ab"])).unwrap();
        assert_eq!(tokenizer.encode("abc ab", false, false).unwrap(), [97, 257, 258]);
        assert_eq!(tokenizer.encode("é\n", false, false).unwrap(), [0xC3, 0xA9, 10]);
        assert_eq!(tokenizer.decode(&[97, 257, 258, 0xC3], false), "abc ab\u{fffd}");
    }

    #[test]
    fn merges_that_yield_no_token_are_spelled_in_bytes() {
        let more = [("abc", TokenType::Normal)];
        let tokenizer = Tokenizer::new(byte_level(&more, &["a b", "ab c"])).unwrap();
        assert_eq!(tokenizer.encode("abc ab", false, false).unwrap(), [256, 32, 97, 98]);
    }

    #[test]
    fn bytes_without_a_token_become_the_unknown_one() {
        let mut vocabulary = bpe_vocabulary(&[("a", TokenType::Normal), ("<unk>", TokenType::Unknown)], &[]);
        assert_eq!(Tokenizer::new(vocabulary.clone()).unwrap().encode("ab", false, false).unwrap(), [0]);
        vocabulary.ids.set(Role::Unknown, Some(1));
        assert_eq!(Tokenizer::new(vocabulary).unwrap().encode("ab", false, false).unwrap(), [0, 1]);
    }

    #[test]
    fn whole_words_bypass_the_merges_where_the_family_wants_it() {
        let more = [("the", TokenType::Normal)];
        let mut vocabulary = byte_level(&more, &[]);
        assert_eq!(Tokenizer::new(vocabulary.clone()).unwrap().encode("the", false, false).unwrap().len(), 3);
        vocabulary.pre = "llama-bpe".into();
        assert_eq!(Tokenizer::new(vocabulary).unwrap().encode("the", false, false).unwrap(), [256]);
    }

    #[test]
    fn tokens_around_a_text_follow_file_then_family() {
        let more = [("<s>", TokenType::Control), ("</s>", TokenType::Control)];
        let mut vocabulary = byte_level(&more, &[]);
        vocabulary.ids.set(Role::Bos, Some(256));
        vocabulary.ids.set(Role::Eos, Some(257));
        let ids = |vocabulary: &Vocabulary| {
            Tokenizer::new(vocabulary.clone()).unwrap().encode("a", true, false).unwrap()
        };
        assert_eq!(ids(&vocabulary), [97]);
        vocabulary.pre = "llama-bpe".into();
        assert_eq!(ids(&vocabulary), [256, 97]);
        (vocabulary.add_bos, vocabulary.add_eos) = (Some(false), Some(true));
        assert_eq!(ids(&vocabulary), [97, 257]);
        vocabulary.ids.set(Role::Eos, None);
        let message = Tokenizer::new(vocabulary).err().unwrap().to_string();
        assert!(message.contains("eos_token_id"), "{message}");
    }

    #[test]
    fn sentencepiece_puts_a_space_in_front_and_takes_it_off() {
        let vocabulary = spm_vocabulary(&[("▁a", -1.0), ("▁", -2.0), ("a", -3.0)]);
        let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
        let ids = tokenizer.encode("a a<s>a", true, true).unwrap();
        assert_eq!(ids, [1, 259, 259, 1, 259]);
        assert_eq!(tokenizer.decode(&ids[..3], false), "a a");
        assert_eq!(tokenizer.encode(" a", false, false).unwrap(), [260, 259]);
        assert_eq!(tokenizer.decode(&[260, 259], false), " a");
        let mut continued = tokenizer.decoder();
        assert_eq!(continued.push(259), " a");
        let plain = Tokenizer::new(Vocabulary { add_space_prefix: Some(false), ..vocabulary }).unwrap();
        assert_eq!(plain.encode("a", false, false).unwrap(), [261]);
        assert_eq!(plain.decode(&[259], false), " a");
    }

    #[test]
    fn pieces_and_types_are_there_for_every_token_and_no_other() {
        let tokenizer = Tokenizer::new(spm_vocabulary(&[("▁a", -1.0)])).unwrap();
        assert_eq!(tokenizer.n_vocab(), 260);
        assert_eq!(tokenizer.piece(259).unwrap(), " a");
        assert_eq!(tokenizer.token_text(259), Some("▁a"));
        assert_eq!(tokenizer.piece(1).unwrap(), "<s>");
        assert_eq!(tokenizer.token_type(3), Some(TokenType::Byte));
        assert_eq!((tokenizer.piece(260), tokenizer.token_type(260)), (None, None));
        assert!(tokenizer.is_end_of_generation(2) && !tokenizer.is_end_of_generation(259));
    }

    #[test]
    fn a_million_equal_characters_take_no_more_than_their_share() {
        const N: usize = 1_000_000;
        let doubled: Vec<String> = (1..=10).map(|i| "a".repeat(1 << i)).collect();
        let more: Vec<(&str, TokenType)> = doubled.iter().map(|t| (t.as_str(), TokenType::Normal)).collect();
        let merges: Vec<String> = (0..10).map(|i| format!("{0} {0}", "a".repeat(1 << i))).collect();
        let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
        let bpe = Tokenizer::new(byte_level(&more, &merges)).unwrap();
        let scored = doubled.iter().enumerate().map(|(i, t)| (t.as_str(), -(i as f32)));
        let scored: Vec<(&str, f32)> = scored.chain([("▁", -99.0)]).collect();
        let spm = Tokenizer::new(spm_vocabulary(&scored)).unwrap();
        let started = std::time::Instant::now();
        for tokenizer in [&bpe, &spm] {
            for unit in ["a", " ", "\n", "é", "1", "<s>", " a"] {
                let text = unit.repeat(N / unit.len());
                let ids = tokenizer.encode(&text, false, true).unwrap();
                assert!(tokenizer.decode(&ids, true) == text, "{unit:?}");
            }
        }
        assert_eq!(bpe.encode(&"a".repeat(N), false, false).unwrap().len(), N / 1024 + 2);
        assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
    }
}
