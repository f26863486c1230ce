//! A vocabulary in the keys of a GGUF, both ways.

use std::borrow::Cow;

use super::kinds::{MODEL, PRE, TOKENS};
use super::normalizer::Normalizer;
use super::special_ids::{Role, SpecialIds};
use super::vocabulary::{AddedFlags, CaseRules, Kind, RawTokens, SpacePrefix, TokenType, Vocabulary};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};

const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SEP: &str = "tokenizer.ggml.add_sep_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const REMOVE_EXTRA_WHITESPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
const STRIP_ACCENTS: &str = "tokenizer.ggml.normalizer.strip_accents";
/// Ours: for each added token its id and the number of its [`AddedFlags`].
const ADDED_TOKENS: &str = "gguf-kit.tokenizer.added_tokens";
/// Ours: where a space goes in front of texts, if not in front of every one ([`SpacePrefix`]).
const SPACE_PREFIX: &str = "gguf-kit.tokenizer.space_prefix";
/// Ours: the steps of normalisation, in order ([`Normalizer`]).
const NORMALIZER: &str = "gguf-kit.tokenizer.normalizer";
/// Pre-tokenizers of RoBERTa and what is like it.
const PRE_OF_TWO_SEPARATORS: [&str; 3] = ["roberta-bpe", "jina-v1-en", "jina-v2-code"];
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const DEFAULT_CHAT_TEMPLATE: &str = "tokenizer.chat_template.default";
const CHAT_TEMPLATE_NAMES: &str = "tokenizer.chat_templates";

/// The name of the template for pairs of texts.
const RERANK: &str = "rerank";

/// The further ends of a generation, as far as no key of the field names them: a key of this program.
const END_IDS: &str = "gguf-kit.tokenizer.end_token_ids";

/// An id of this value, -1 in 32 bits, says that there is no such token, as do negative ones of signed types.
const NO_TOKEN: u32 = u32::MAX;

impl Vocabulary {
    /// Reads the `tokenizer.*` keys.
    ///
    /// What a file leaves out: types are normal, scores 0, the pre-tokenizer is `default`, and special tokens have
    /// the ids of the model that made their kind known. Ids of minor roles
    /// that lie outside the vocabulary are left out, as files have them.
    ///
    /// # Errors
    /// `Unsupported` for another kind of tokenizer or an unknown pre-tokenizer, with what is supported;
    /// `Malformed` for keys that are absent, of the wrong type or length, or beginning and end tokens
    /// outside the vocabulary.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let kind = Kind::of_metadata(metadata)?;
        let (tokens, raw) = tokens_of(metadata)?;
        // Both lists may be short, or absent, or too long; what a file does not say has its default.
        let mut types = metadata.i32s(TYPES)?.unwrap_or_default();
        types.resize(tokens.len(), TokenType::Normal as i32);
        let types = types.into_iter().map(TokenType::from_code).collect();
        let mut scores = Vec::new();
        if kind.has_scores() {
            scores = metadata.f32s(SCORES)?.unwrap_or_default();
            scores.resize(tokens.len(), 0.0);
        }
        let mut merges = Vec::new();
        if kind.has_merges() {
            let absent = || Error::malformed(metadata.path(), format!("a BPE vocabulary without {MERGES}"));
            let stored = metadata.byte_strings(MERGES)?.ok_or_else(absent)?;
            merges = stored.map(|merge| text_of(merge).into_owned()).collect();
        }
        let vocabulary = Self {
            kind,
            pre: metadata.string(PRE)?.filter(|pre| !pre.is_empty()).unwrap_or("default").to_owned(),
            ids: ids_of(metadata, kind, tokens.len())?,
            tokens,
            raw,
            types,
            scores,
            merges,
            add_bos: metadata.bool(ADD_BOS)?,
            add_eos: metadata.bool(ADD_EOS)?,
            add_space_prefix: metadata.bool(ADD_SPACE_PREFIX)?,
            space_prefix: space_prefix_of(metadata)?,
            remove_extra_whitespaces: metadata.bool(REMOVE_EXTRA_WHITESPACES)?,
            add_sep: metadata.bool(ADD_SEP)?.or(has_two_separators(metadata)?),
            case: case_of(metadata)?,
            normalizer: normalizer_of(metadata)?,
            charsmap: metadata
                .i32s(CHARSMAP)?
                .unwrap_or_default()
                .into_iter()
                .map(|byte| byte as u8)
                .collect(),
            added: added_of(metadata)?,
            chat_template: chat_template_of(metadata),
            named_templates: named_templates_of(metadata),
            // A name that is odd tells nothing.
            model_name: metadata.string("general.name").ok().flatten().map(str::to_owned),
            notes: Vec::new(),
        };
        vocabulary.checked(metadata.path())
    }

    /// The `tokenizer.*` keys, in the order in which files have them.
    pub fn to_metadata(&self) -> Vec<(String, Value)> {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        let mut put = |key: &str, value: Value| pairs.push((key.to_owned(), value));
        put(MODEL, Value::String(self.kind.gguf_name().to_owned()));
        put(PRE, Value::String(self.pre.clone()));
        put(TOKENS, Value::Strings(self.tokens.clone()));
        if self.kind.has_scores() {
            put(SCORES, Value::F32s(self.scores.clone()));
        }
        put(TYPES, Value::I32s(self.types.iter().map(|&ty| ty as i32).collect()));
        if self.kind.has_merges() {
            put(MERGES, Value::Strings(self.merges.clone()));
        }
        for (role, keys) in SpecialIds::keys() {
            if let Some(id) = self.ids.get(role) {
                put(&format!("tokenizer.ggml.{}", keys[0]), Value::U32(id));
            }
        }
        if !self.ids.further_ends().is_empty() {
            put(END_IDS, Value::U32s(self.ids.further_ends().to_vec()));
        }
        let flags = [
            (ADD_BOS, self.add_bos),
            (ADD_EOS, self.add_eos),
            (ADD_SEP, self.add_sep),
            (ADD_SPACE_PREFIX, self.add_space_prefix),
            (REMOVE_EXTRA_WHITESPACES, self.remove_extra_whitespaces),
            (LOWERCASE, Some(self.case.lowercase).filter(|_| self.kind == Kind::WordPiece)),
            (STRIP_ACCENTS, Some(self.case.strip_accents).filter(|_| self.kind == Kind::WordPiece)),
        ];
        for (key, flag) in flags {
            if let Some(flag) = flag {
                put(key, Value::Bool(flag));
            }
        }
        if !self.charsmap.is_empty() {
            put(CHARSMAP, Value::U8s(self.charsmap.clone()));
        }
        match self.space_prefix {
            SpacePrefix::Always => {}
            rule => put(SPACE_PREFIX, Value::String(rule.name().to_owned())),
        }
        let steps = self.normalizer.names();
        if !steps.is_empty() {
            put(NORMALIZER, Value::Strings(steps.into_iter().map(str::to_owned).collect()));
        }
        if let Some(added) = self.added.as_ref().filter(|added| !added.is_empty()) {
            let pairs = added.iter().flat_map(|&(id, flags)| [id as i32, flags.code()]);
            put(ADDED_TOKENS, Value::I32s(pairs.collect()));
        }
        if !self.named_templates.is_empty() {
            let names = self.named_templates.iter().map(|(name, _)| name.clone()).collect();
            put(CHAT_TEMPLATE_NAMES, Value::Strings(names));
        }
        for (name, source) in &self.named_templates {
            put(&format!("{CHAT_TEMPLATE}.{name}"), Value::String(source.clone()));
        }
        if let Some(source) = &self.chat_template {
            put(CHAT_TEMPLATE, Value::String(source.clone()));
        }
        pairs
    }
}

/// Whether the pre-tokenizer is one of models whose pairs of texts have two separators between them, where a file does
/// not say.
fn has_two_separators(metadata: &Metadata) -> Result<Option<bool>> {
    let pre = metadata.string(PRE)?;
    Ok(pre.filter(|pre| PRE_OF_TWO_SEPARATORS.contains(pre)).map(|_| true))
}

/// Without accents where a file says only that letters become small.
fn case_of(metadata: &Metadata) -> Result<CaseRules> {
    let lowercase = metadata.bool(LOWERCASE)?.unwrap_or(true);
    Ok(CaseRules { lowercase, strip_accents: metadata.bool(STRIP_ACCENTS)?.unwrap_or(lowercase) })
}

/// The special tokens that a file of this kind has where it does not say: those of Llama, BERT, T5 and PLaMo 2.
fn usual_ids(kind: Kind) -> &'static [(Role, u32)] {
    match kind {
        Kind::SentencePiece => &[(Role::Unknown, 0), (Role::Bos, 1), (Role::Eos, 2)],
        Kind::WordPiece => &[
            (Role::Padding, 0),
            (Role::Unknown, 100),
            (Role::Bos, 101),
            (Role::Separator, 102),
            (Role::Mask, 103),
        ],
        Kind::Unigram => &[(Role::Padding, 0), (Role::Eos, 1), (Role::Unknown, 2)],
        Kind::Plamo => &[(Role::Unknown, 0), (Role::Bos, 1), (Role::Eos, 2), (Role::Padding, 3)],
        Kind::ByteLevelBpe | Kind::CharacterBpe | Kind::World => &[],
    }
}

/// The tokens, and the bytes of those that are not UTF-8. An empty one, which could never be told from
/// nothing, gets a name of its own.
fn tokens_of(metadata: &Metadata) -> Result<(Vec<String>, RawTokens)> {
    let absent = || Error::malformed(metadata.path(), format!("a tokenizer without {TOKENS}"));
    let mut raw = RawTokens::new();
    let text = |(id, bytes): (u32, &[u8])| {
        let text = text_of(bytes);
        if matches!(text, Cow::Owned(_)) {
            raw.insert(id, bytes.into());
        }
        if text.is_empty() { format!("[EMPTY_{id}]") } else { text.into_owned() }
    };
    let tokens = (0..).zip(metadata.byte_strings(TOKENS)?.ok_or_else(absent)?).map(text).collect();
    Ok((tokens, raw))
}

/// `bytes` as text, with U+FFFD in place of what is not UTF-8. (The check alone is faster than the library's search
/// for what to replace, and files have half a million texts.)
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn ids_of(metadata: &Metadata, kind: Kind, n_vocab: usize) -> Result<SpecialIds> {
    let mut ids = SpecialIds::default();
    for &(role, id) in usual_ids(kind) {
        ids.set(role, Some(id).filter(|&id| (id as usize) < n_vocab));
    }
    for (role, keys) in SpecialIds::keys() {
        for key in keys.iter().rev() {
            let key = format!("tokenizer.ggml.{key}");
            let id = if metadata.is_negative(&key) { Some(NO_TOKEN) } else { metadata.u32(&key)? };
            let Some(id) = id else { continue };
            let decisive = matches!(role, Role::Bos | Role::Eos);
            if id == NO_TOKEN {
                ids.set(role, None);
            } else if (id as usize) < n_vocab || decisive {
                ids.set(role, Some(id));
            }
        }
    }
    if kind == Kind::WordPiece
        && let Some(begin) = ids.get(Role::Cls).filter(|_| !metadata.contains("tokenizer.ggml.bos_token_id"))
    {
        ids.set(Role::Bos, Some(begin));
    }
    let ends = metadata.i32s(END_IDS)?.unwrap_or_default();
    let ends = ends.into_iter().filter_map(|id| u32::try_from(id).ok());
    ids.set_further_ends(ends.filter(|&id| (id as usize) < n_vocab).collect());
    Ok(ids)
}

fn space_prefix_of(metadata: &Metadata) -> Result<SpacePrefix> {
    let Some(name) = metadata.string(SPACE_PREFIX)? else { return Ok(SpacePrefix::Always) };
    SpacePrefix::ALL.into_iter().find(|rule| rule.name() == name).ok_or_else(|| {
        let names = SpacePrefix::ALL.map(SpacePrefix::name).join(", ");
        Error::unsupported(metadata.path(), format!("{SPACE_PREFIX} {name:?}; supported are {names}"))
    })
}

fn normalizer_of(metadata: &Metadata) -> Result<Normalizer> {
    let Some(names) = metadata.strings(NORMALIZER)? else { return Ok(Normalizer::default()) };
    Normalizer::by_names(names).map_err(|name| {
        let what = format!("{NORMALIZER} {name:?}; supported are {}", Normalizer::supported());
        Error::unsupported(metadata.path(), what)
    })
}

fn added_of(metadata: &Metadata) -> Result<Option<Vec<(u32, AddedFlags)>>> {
    let Some(numbers) = metadata.i32s(ADDED_TOKENS)? else { return Ok(None) };
    let (pairs, rest) = numbers.as_chunks();
    if !rest.is_empty() {
        let what = format!("{ADDED_TOKENS} has {} numbers; pairs are needed", numbers.len());
        return Err(Error::malformed(metadata.path(), what));
    }
    Ok(Some(pairs.iter().map(|&[id, code]| (id as u32, AddedFlags::from_code(code))).collect()))
}

/// The template for chats, which some files have by the name "default" alone. An empty one, which would leave out what is
/// said, is none, as is a value of another type: all but chats go without.
fn chat_template_of(metadata: &Metadata) -> Option<String> {
    let text = |key| metadata.string(key).ok().flatten().filter(|source| !source.trim().is_empty());
    [CHAT_TEMPLATE, DEFAULT_CHAT_TEMPLATE].into_iter().find_map(text).map(str::to_owned)
}

/// Templates for special purposes, as far as names and templates are texts.
fn named_templates_of(metadata: &Metadata) -> Vec<(String, String)> {
    let mut names: Vec<&str> = match metadata.strings(CHAT_TEMPLATE_NAMES) {
        Ok(names) => names.into_iter().flatten().collect(),
        Err(_) => Vec::new(),
    };
    // One that was set by itself is in no list; other programs ask for it by its key.
    if !names.contains(&RERANK) {
        names.push(RERANK);
    }
    let source = |name: &str| metadata.string(&format!("{CHAT_TEMPLATE}.{name}")).ok().flatten();
    names.into_iter().filter_map(|name| Some((name.to_owned(), source(name)?.to_owned()))).collect()
}

#[cfg(test)]
mod tests;
