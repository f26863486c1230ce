//! Byte-level BPE (GPT-2 and its many heirs): words are bytes, joined in the order of the merge list.
//!
//! Works on the bytes themselves: the printable alphabet of the vocabulary file is translated once,
//! while the tables are built. A merge may name or yield a text that is not a token (files with a trimmed
//! vocabulary do); such texts get ids behind the vocabulary and are spelled in bytes at the end.

use super::byte_chars;
use super::merge::{Merger, Symbol};
use super::pre_tokenizer::Splitter;
use super::text_ids::{Merges, TextIds};
use super::vocabulary::TokenType;
use crate::error::{Error, Result};

/// Encodes ordinary text (no special tokens) of a byte-level BPE vocabulary.
pub(super) struct Bpe {
    splitter: Splitter,
    /// Token of a whole word; filled only if whole words bypass the merges.
    words: Option<TextIds>,
    /// Symbol of a single byte.
    bytes: [u32; 256],
    merges: Merges,
    n_vocab: u32,
    /// The bytes of symbols that are not tokens; the first is number `n_vocab`.
    extra: Vec<Box<[u8]>>,
    unknown: Option<u32>,
}

/// Numbers texts: tokens first, then whatever else the merges mention.
struct Symbols {
    ids: TextIds,
    n_vocab: u32,
    extra: Vec<Box<[u8]>>,
}

impl Symbols {
    fn id(&mut self, bytes: &[u8]) -> u32 {
        let new = self.n_vocab + self.extra.len() as u32;
        let id = self.ids.get_or_insert(bytes, new);
        if id == new {
            self.extra.push(bytes.into());
        }
        id
    }
}

impl Bpe {
    /// Builds the tables of `tokens` (index = id, in the printable alphabet), their `types`, and `merges`
    /// (`left right`, best first). Control, unknown and unused tokens never come of a text. A merge with characters outside the alphabet can never apply and is
    /// left out, as is a pair's second mention.
    pub(super) fn new<'a>(
        tokens: &[String],
        types: &[TokenType],
        merges: impl Iterator<Item = (&'a str, &'a str)>,
        splitter: Splitter,
        unknown: Option<u32>,
    ) -> Self {
        let n_vocab = tokens.len() as u32;
        let mut symbols = Symbols { ids: TextIds::with_capacity(tokens.len()), n_vocab, extra: Vec::new() };
        let mut text = Vec::new();
        for (id, (token, ty)) in tokens.iter().zip(types).enumerate() {
            if matches!(ty, TokenType::Normal | TokenType::UserDefined | TokenType::Byte)
                && byte_chars::push_bytes_of(token, &mut text)
            {
                symbols.ids.get_or_insert(&text, id as u32);
            }
            text.clear();
        }
        let bytes = std::array::from_fn(|byte| symbols.id(&[byte as u8]));
        let mut pairs = Merges::with_capacity(merges.size_hint().1.unwrap_or(0));
        for (rank, (left, right)) in merges.enumerate() {
            let is_left = byte_chars::push_bytes_of(left, &mut text);
            let border = text.len();
            if is_left && byte_chars::push_bytes_of(right, &mut text) {
                let pair = (symbols.id(&text[..border]), symbols.id(&text[border..]));
                pairs.entry(pair).or_insert((rank as u32, symbols.id(&text)));
            }
            text.clear();
        }
        let Symbols { ids, extra, .. } = symbols;
        let words = splitter.ignores_merges().then_some(ids);
        Self { splitter, words, bytes, merges: pairs, n_vocab, extra, unknown }
    }

    /// Appends the ids of `text` to `ids`.
    ///
    /// # Errors
    /// `Usage` for a byte that has no token where there is no unknown token.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) -> Result<()> {
        let mut failed = None;
        self.splitter.split(text, |word| {
            if failed.is_none() {
                failed = self.encode_word(word, merger, ids).err();
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn encode_word(&self, word: &str, merger: &mut Merger, ids: &mut Vec<u32>) -> Result<()> {
        let whole = self.words.as_ref().and_then(|words| words.get(word));
        if let Some(id) = whole.filter(|&id| id < self.n_vocab) {
            ids.push(id);
            return Ok(());
        }
        for symbol in self.join(word.as_bytes(), merger) {
            match symbol.id.checked_sub(self.n_vocab) {
                None => ids.push(symbol.id),
                Some(extra) => self.spell(&self.extra[extra as usize], word, ids)?,
            }
        }
        Ok(())
    }

    /// Joins the bytes of `word` as far as the merges go.
    fn join<'m>(&self, word: &[u8], merger: &'m mut Merger) -> impl Iterator<Item = &'m Symbol> {
        merger.clear();
        for (i, &byte) in word.iter().enumerate() {
            merger.push(self.bytes[usize::from(byte)], i as u32, 1);
        }
        merger.merge(|left, right| self.merges.get(&(left.id, right.id)).copied())
    }

    /// Whether the merges alone make token `id` of its own text, `token`; so they do, trivially, if the
    /// text is not in the byte alphabet and can never occur.
    pub(super) fn reaches(&self, id: u32, token: &str) -> bool {
        let Some(bytes) = byte_chars::bytes_of(token) else { return true };
        let mut merger = Merger::default();
        self.join(&bytes, &mut merger).map(|symbol| symbol.id).eq([id])
    }

    /// Appends the tokens of single bytes. A byte without one becomes the unknown token.
    fn spell(&self, bytes: &[u8], word: &str, ids: &mut Vec<u32>) -> Result<()> {
        for &byte in bytes {
            let id = Some(self.bytes[usize::from(byte)]).filter(|&id| id < self.n_vocab);
            let missing = || {
                Error::usage(format!(
                    "the model's vocabulary has no token for the byte 0x{byte:02X} in {word:?}, and no unknown \
                     token; leave the character out"
                ))
            };
            ids.push(id.or(self.unknown).ok_or_else(missing)?);
        }
        Ok(())
    }
}
