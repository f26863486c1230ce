//! The tokenizer of a model: text to ids and back.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::decoder::{Pieces, StreamDecoder};
use super::encoder::Encoder;
use super::literal::{self, Spellings, Vetoes};
use super::merge::Merger;
use super::special_ids::{self, Role, SpecialIds};
use super::special_tokens::{Fragment, SpecialTokens};
use super::spm::Before;
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
    /// What stands behind a text.
    end: Option<u32>,
    end_of_generation: HashSet<u32>,
    adds_bos: bool,
    adds_eos: bool,
    adds_sep: bool,
    /// Whether a space in front of a text is not part of it.
    drops_space: bool,
    chat_template: Option<String>,
    named_templates: Vec<(String, String)>,
}

impl Tokenizer {
    /// The tokenizer that the metadata of a GGUF describe.
    ///
    /// # Errors
    /// As [`Vocabulary::from_metadata`].
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        Self::new(Vocabulary::from_metadata(metadata)?)
    }

    /// The tokenizer with `vocabulary`.
    ///
    /// # Errors
    /// `Limit` for more special tokens than can be searched for.
    pub fn new(vocabulary: Vocabulary) -> Result<Self> {
        // Files that list the tokens added to their vocabulary leave no doubt what is a word.
        let knows_words = vocabulary.added.as_ref().is_some_and(|added| !added.is_empty());
        let resolved =
            special_ids::resolve(&vocabulary.tokens, &vocabulary.types, &vocabulary.ids, knows_words);
        let encoder = Encoder::new(&vocabulary, &resolved)?;
        let specials = SpecialTokens::new(&vocabulary, &resolved.types, &encoder)?;
        let pieces = Pieces::new(&vocabulary, &resolved.types, &resolved.shown);
        let ids = &resolved.ids;
        // WordPiece puts its separator behind texts, whatever files say.
        let is_wordpiece = vocabulary.kind == Kind::WordPiece;
        let end = ids.get(Role::Separator).filter(|_| is_wordpiece).or(ids.get(Role::Eos));
        // Files of other programs say of BERT's own that it is there, where pairs of texts have no second.
        let is_single = is_wordpiece && end.is_some_and(|id| vocabulary.tokens[id as usize] == "[SEP]");
        let says = |flag: Option<bool>| flag.filter(|_| !is_wordpiece);
        Ok(Self {
            adds_bos: adds(says(vocabulary.add_bos), encoder.adds_bos(), ids.get(Role::Bos)),
            adds_eos: adds(says(vocabulary.add_eos), encoder.adds_eos(), end),
            adds_sep: vocabulary.add_sep == Some(true) && !is_single,
            drops_space: encoder.drops_space(),
            encoder,
            spellings: specials.spellings()?,
            specials,
            pieces,
            tokens: vocabulary.tokens,
            types: resolved.types,
            end,
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
        ids.extend(self.end.filter(|_| add_special && self.adds_eos));
        Ok(ids)
    }

    /// The ids of a pair of texts, as models that compare two texts read them, and where those of the second text
    /// begin. Control tokens in the texts are not read.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<(Vec<u32>, usize)> {
        let mut ids = self.encode(first, true, false)?;
        ids.extend(self.ids.get(Role::Separator).or(self.end).filter(|_| self.adds_sep));
        let border = ids.len();
        self.encode_parts(second, false, &Vetoes::NONE, &mut ids)?;
        ids.extend(self.end.filter(|_| self.adds_eos));
        Ok((ids, border))
    }

    /// The ids of a `text` that is to be continued: the beginning is put in front of it as the model wants
    /// it, and no end behind it, whatever the file says of texts.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str, parse_special: bool) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        ids.extend(self.bos().filter(|_| self.adds_bos));
        self.encode_parts(text, parse_special, &Vetoes::NONE, &mut ids)?;
        Ok(ids)
    }

    /// As [`Tokenizer::encode`] with the tokens around it, of `text` behind a `prompt` whose control tokens are read.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`] and [`Tokenizer::free_mark`].
    pub fn encode_behind(&self, prompt: &str, text: &str) -> Result<Vec<u32>> {
        if prompt.is_empty() {
            return self.encode(text, true, false);
        }
        let mark = Self::free_mark(&[prompt, text])?;
        let whole = format!("{prompt}{}", self.mark(text, mark));
        let mut ids: Vec<u32> = self.bos().filter(|_| self.adds_bos).into_iter().collect();
        ids.extend(self.encode_marked(&whole, mark)?);
        ids.extend(self.end.filter(|_| self.adds_eos));
        Ok(ids)
    }

    /// A character for [`Tokenizer::mark`] that none of `texts` holds.
    ///
    /// # Errors
    /// `Usage` if there is none.
    pub fn free_mark(texts: &[&str]) -> Result<char> {
        let is_free = |mark: &char| texts.iter().all(|text| !text.contains(*mark));
        ('\u{fdd0}'..='\u{fdef}').find(is_free).ok_or_else(|| {
            Error::usage("the texts hold all 32 characters from U+FDD0 on, which are none; leave one out")
        })
    }

    /// `text` with `mark`, a character that occurs nowhere else, in the places where control tokens
    /// could be read; [`Tokenizer::encode_marked`] then does not read them, whatever was written around
    /// the text and trimmed from it meanwhile. A text without such places is returned as it is; one that has them may
    /// come back normalised, as it will be read.
    pub fn mark<'t>(&self, text: &'t str, mark: char) -> Cow<'t, str> {
        let mut shown = Cow::Borrowed(text);
        // Where normalisation shows control tokens, they are marked in what it makes of the text: that once more changes
        // nothing. A text for which it fails is not encoded either.
        if self.specials.normalized.on_request().next().is_some() && !self.encoder.normalizes_spaces() {
            shown = self.encoder.normalized(text).unwrap_or(shown);
        }
        match self.spellings.spots(&shown) {
            spots if spots.is_empty() => Cow::Borrowed(text),
            spots => Cow::Owned(literal::marked(&shown, &spots, mark)),
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
        for fragment in self.specials.plain.partition(text, parse_special, vetoes) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(range) if self.specials.normalized.is_empty() => {
                    let before = Before::at(range.start);
                    self.encoder.encode(&text[range], before, &mut merger, ids)?;
                }
                Fragment::Text(range) => {
                    self.encode_normalized(text, range, parse_special, vetoes, &mut merger, ids)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the ids of the stretch `range` of `text`, in which those special tokens are left that are looked for
    /// after normalisation.
    fn encode_normalized(
        &self,
        text: &str,
        range: Range<usize>,
        parse_special: bool,
        vetoes: &Vetoes,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        let (mut before, mut vetoes) = (Before::at(range.start), vetoes.within(&range));
        let text = &text[range];
        let mut normal = self.encoder.normalized(text)?;
        match normal.ends_with(text).then(|| normal.len() - text.len()) {
            Some(n_bytes) => vetoes = vetoes.moved_by(n_bytes),
            None if vetoes.is_empty() => {}
            // They stand in the text as it was written, and matter more than what only its normalisation shows.
            None => normal = Cow::Borrowed(text),
        }
        if self.encoder.normalizes_spaces() && matches!(normal, Cow::Owned(_)) {
            before = Before::NormalizedToken;
        }
        for fragment in self.specials.normalized.partition(&normal, parse_special, &vetoes) {
            match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    before = Before::NormalizedToken;
                }
                Fragment::Text(range) => self.encoder.encode(&normal[range], before, merger, ids)?,
            }
        }
        Ok(())
    }

    /// The text of `ids`; control tokens appear in it only if `render_special`. Bytes that are not
    /// UTF-8 become U+FFFD. A space that encoding puts in front of a text is taken off again.
    pub fn decode(&self, ids: &[u32], render_special: bool) -> String {
        let mut decoder = self.decoder().render_special(render_special).drop_space(self.drops_space);
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

    /// What token `id` shows, special or not; bytes that are not a character by themselves are U+FFFD.
    pub fn piece(&self, id: u32) -> Option<Cow<'_, str>> {
        self.tokens.get(id as usize)?;
        Some(String::from_utf8_lossy(self.pieces.get(id, true)))
    }

    /// Token `id` in the file's own spelling, such as "Ġthe"; bytes that are not UTF-8 are U+FFFD.
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

    /// The kind of tokenizer.
    pub fn kind(&self) -> Kind {
        self.encoder.kind()
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

    /// The tokens that are spelled like one of `texts`, whatever their type.
    pub fn tokens_spelled(
        &self,
        texts: impl IntoIterator<Item = &'static str>,
    ) -> HashMap<u32, &'static str> {
        let texts: HashSet<&'static str> = texts.into_iter().collect();
        let ids = (0..).zip(&self.tokens);
        ids.filter_map(|(id, token)| Some((id, *texts.get(token.as_str())?))).collect()
    }

    /// The control token that is spelled `text`, if there is one.
    pub fn control_token(&self, text: &str) -> Option<u32> {
        let is_it =
            |&id: &u32| self.token_type(id) == Some(TokenType::Control) && self.token_text(id) == Some(text);
        (0..self.n_vocab() as u32).find(is_it)
    }

    /// Whether a generation ends with token `id`: end of sequence, of turn, of message.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.end_of_generation.contains(&id)
    }

    /// The model's chat template, in Jinja.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The purposes for which the model has other templates.
    pub fn template_names(&self) -> impl Iterator<Item = &str> {
        self.named_templates.iter().map(|(name, _)| name.as_str())
    }

    /// The model's template for another purpose, such as `tool_use`.
    pub fn named_template(&self, name: &str) -> Option<&str> {
        self.named_templates.iter().find(|(known, _)| known == name).map(|(_, source)| source.as_str())
    }
}

/// Whether texts get a token, by what the file says, else by what its kind does by default; a token that the file does
/// not name is never added.
fn adds(file: Option<bool>, by_default: bool, id: Option<u32>) -> bool {
    id.is_some() && file.unwrap_or(by_default)
}

#[cfg(test)]
mod tests;
