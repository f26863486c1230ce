//! A vocabulary in neutral form: what tokenizer files of checkpoints and GGUF keys both say.

use std::collections::BTreeMap;
use std::path::Path;

use super::normalizer::Normalizer;
use super::pre_tokenizer;
use super::special_ids::SpecialIds;
use crate::error::{Error, Result};
use crate::limits;

pub(super) use super::kinds::{AddedFlags, CaseRules, SpacePrefix};
pub use super::kinds::{Kind, TokenType};

/// The bytes of tokens that are not UTF-8, by id.
pub(super) type RawTokens = BTreeMap<u32, Box<[u8]>>;

/// Tokens and the rules of a tokenizer.
///
/// Holds: at least one token, none empty; `types` as long as `tokens`; `scores` too where the kind has
/// them, and all of them numbers; every merge two non-empty texts around a space;
/// every special id within the vocabulary; a supported pre-tokenizer for [`Kind::ByteLevelBpe`].
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    pub(super) kind: Kind,
    /// The pre-tokenizer's name in GGUF files.
    pub(super) pre: String,
    /// In the file's own spelling: `Ġthe`, `▁the`.
    pub(super) tokens: Vec<String>,
    /// Their texts have U+FFFD in place of what is not UTF-8.
    pub(super) raw: RawTokens,
    pub(super) types: Vec<TokenType>,
    /// Empty where the kind has none.
    pub(super) scores: Vec<f32>,
    /// `left right`, best first; empty where the kind has none.
    pub(super) merges: Vec<String>,
    pub(super) ids: SpecialIds,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    pub(super) add_space_prefix: Option<bool>,
    pub(super) space_prefix: SpacePrefix,
    pub(super) remove_extra_whitespaces: Option<bool>,
    /// Whether a second separator stands between two texts.
    pub(super) add_sep: Option<bool>,
    pub(super) case: CaseRules,
    /// What byte-level BPE does to texts first.
    pub(super) normalizer: Normalizer,
    /// SentencePiece's table of replaced characters; see [`super::charsmap`].
    pub(super) charsmap: Vec<u8>,
    /// How added tokens are matched, by id; `None` where a file does not say.
    pub(super) added: Option<Vec<(u32, AddedFlags)>>,
    pub(super) chat_template: Option<String>,
    /// Templates for other purposes, by name (`tool_use`, `rag`).
    pub(super) named_templates: Vec<(String, String)>,
    /// `general.name`: some families' blank rules hang on it.
    pub(super) model_name: Option<String>,
    /// What the user should know about where it came from.
    pub(super) notes: Vec<String>,
}

impl Vocabulary {
    /// The kind of tokenizer.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The pre-tokenizer's name in GGUF files, such as `llama-bpe`.
    pub fn pre_tokenizer(&self) -> &str {
        &self.pre
    }

    /// Number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.tokens.len()
    }

    /// All tokens in the file's own spelling; index = id.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The types of all tokens; index = id.
    pub fn types(&self) -> &[TokenType] {
        &self.types
    }

    /// Tokens by role.
    pub fn special_ids(&self) -> &SpecialIds {
        &self.ids
    }

    /// The chat template, in Jinja.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The token that is spelled `text`.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.tokens.iter().position(|token| token == text).map(|id| id as u32)
    }

    /// The template of this name for another purpose than chats.
    pub fn named_template(&self, name: &str) -> Option<&str> {
        self.named_templates.iter().find(|(other, _)| other == name).map(|(_, source)| source.as_str())
    }

    /// Adds a template for another purpose than chats.
    pub fn add_template(&mut self, name: &str, source: &str) {
        self.named_templates.push((name.to_owned(), source.to_owned()));
    }

    /// What a user who converts it should know: how the pre-tokenizer was found, what GGUF cannot carry.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Checks what the type promises and returns the vocabulary; `path` is for messages.
    ///
    /// # Errors
    /// `Malformed` for what breaks a promise, `Unsupported` for a pre-tokenizer that is not known,
    /// `Limit` for too many tokens.
    pub(super) fn checked(self, path: &Path) -> Result<Self> {
        let n = self.tokens.len();
        if n == 0 {
            return Err(Error::malformed(path, "the vocabulary has no tokens"));
        }
        if n > limits::MAX_ARRAY_LEN {
            return Err(Error::limit(format!(
                "a vocabulary of {n} tokens; the limit is {}",
                limits::MAX_ARRAY_LEN
            )));
        }
        self.check_lengths(path)?;
        for (role, keys) in SpecialIds::keys() {
            if let Some(id) = self.ids.get(role).filter(|&id| id as usize >= n) {
                let what = format!("tokenizer.ggml.{} is {id}, but the vocabulary has {n} tokens", keys[0]);
                return Err(Error::malformed(path, what));
            }
        }
        if let Some(i) = self.merges.iter().position(|merge| split_merge(merge).is_none()) {
            let what = format!(
                "merge {i} of the vocabulary is {:?}, not two texts with a space between",
                self.merges[i]
            );
            return Err(Error::malformed(path, what));
        }
        if self.kind == Kind::ByteLevelBpe && pre_tokenizer::Splitter::by_name(&self.pre).is_none() {
            let names = pre_tokenizer::supported_names().join(", ");
            let what = format!("the pre-tokenizer {:?}; supported are {names}", self.pre);
            return Err(Error::unsupported(path, what));
        }
        Ok(self)
    }

    fn check_lengths(&self, path: &Path) -> Result<()> {
        let n = self.tokens.len();
        if self.types.len() != n {
            let what = format!("{} token types for {n} tokens", self.types.len());
            return Err(Error::malformed(path, what));
        }
        if !self.kind.has_scores() {
            return Ok(());
        }
        if self.scores.len() != n {
            return Err(Error::malformed(path, format!("{} token scores for {n} tokens", self.scores.len())));
        }
        match self.scores.iter().position(|score| score.is_nan()) {
            Some(i) => Err(Error::malformed(path, format!("the score of token {i} is not a number"))),
            None => Ok(()),
        }
    }

    /// The merges as pairs, best first.
    pub(super) fn merge_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.merges.iter().filter_map(|merge| split_merge(merge))
    }

    /// `types`, with those tokens as unused that no ordinary text becomes: added ones, which are matched as
    /// a whole or not at all, and ones that are not text.
    pub(super) fn types_of_words(&self, types: &[TokenType]) -> Vec<TokenType> {
        let mut types = types.to_vec();
        for (id, _) in self.added.iter().flatten() {
            if let Some(ty) = types.get_mut(*id as usize).filter(|ty| **ty == TokenType::UserDefined) {
                *ty = TokenType::Unused;
            }
        }
        self.raw.keys().for_each(|&id| types[id as usize] = TokenType::Unused);
        types
    }

    /// Which blanks around the special token `text` go with it, for files that do not say. The families
    /// are known by name: Phi-3 (all but three tokens, after), the German, Spanish and code models of
    /// Jina, RoBERTa and what is like XLM-RoBERTa (the mask, before).
    pub(super) fn guessed_flags(&self, text: &str) -> AddedFlags {
        let name = self.model_name.as_deref().unwrap_or_default().to_lowercase();
        let phi_3 = name.contains("phi-3") || name.contains("phi3");
        let names = ["jina-v2-de", "jina-v2-es", "jina-v2-code", "roberta-bpe"];
        let has_mask = names.contains(&self.pre.as_str()) || self.kind == Kind::Unigram;
        AddedFlags {
            lstrip: has_mask && text == "<mask>",
            rstrip: phi_3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&text),
            ..AddedFlags::default()
        }
    }
}

/// The two halves of a merge: split at the first space after the first character.
pub(super) fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let first = merge.chars().next()?.len_utf8();
    let space = first + merge[first..].find(' ')?;
    Some((&merge[..space], &merge[space + 1..])).filter(|(_, right)| !right.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tokenizer::special_ids::Role;

    /// A byte-level vocabulary of `tokens` in ids 0, 1, ... and `merges`, with GPT-2's words.
    pub(in crate::tokenizer) fn bpe_vocabulary(tokens: &[(&str, TokenType)], merges: &[&str]) -> Vocabulary {
        Vocabulary {
            kind: Kind::ByteLevelBpe,
            pre: "gpt-2".into(),
            tokens: tokens.iter().map(|&(text, _)| text.to_owned()).collect(),
            raw: BTreeMap::new(),
            types: tokens.iter().map(|&(_, ty)| ty).collect(),
            scores: Vec::new(),
            merges: merges.iter().map(|&merge| merge.to_owned()).collect(),
            ids: SpecialIds::default(),
            add_bos: None,
            add_eos: None,
            add_space_prefix: None,
            space_prefix: SpacePrefix::Always,
            remove_extra_whitespaces: None,
            add_sep: None,
            case: CaseRules::default(),
            normalizer: Normalizer::default(),
            charsmap: Vec::new(),
            added: None,
            chat_template: None,
            named_templates: Vec::new(),
            model_name: None,
            notes: Vec::new(),
        }
    }

    /// A SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, the 256 bytes, then `pieces` with scores.
    pub(in crate::tokenizer) fn spm_vocabulary(pieces: &[(&str, f32)]) -> Vocabulary {
        let mut tokens = vec![("<unk>".to_owned(), TokenType::Unknown, 0.0)];
        tokens.extend(["<s>", "</s>"].map(|text| (text.to_owned(), TokenType::Control, 0.0)));
        tokens.extend((0..=255).map(|b| (crate::tokenizer::spm::byte_token(b), TokenType::Byte, 0.0)));
        tokens.extend(pieces.iter().map(|&(text, score)| (text.to_owned(), TokenType::Normal, score)));
        let mut vocabulary = bpe_vocabulary(&[], &[]);
        vocabulary.kind = Kind::SentencePiece;
        vocabulary.pre = "default".into();
        vocabulary.scores = tokens.iter().map(|t| t.2).collect();
        vocabulary.types = tokens.iter().map(|t| t.1).collect();
        vocabulary.tokens = tokens.into_iter().map(|t| t.0).collect();
        vocabulary.ids.set(Role::Unknown, Some(0));
        vocabulary.ids.set(Role::Bos, Some(1));
        vocabulary.ids.set(Role::Eos, Some(2));
        vocabulary
    }

    fn complaint(vocabulary: Vocabulary) -> String {
        vocabulary.checked(Path::new("x.gguf")).unwrap_err().to_string()
    }

    #[test]
    fn sound_vocabularies_pass() {
        let bpe = bpe_vocabulary(&[("a", TokenType::Normal)], &["a b", "  x"]);
        assert_eq!(bpe.clone().checked(Path::new("x")).unwrap(), bpe);
        assert!(spm_vocabulary(&[("▁a", -1.0)]).checked(Path::new("x")).is_ok());
    }

    #[test]
    fn merges_split_at_the_first_space_behind_the_first_character() {
        assert_eq!(split_merge("a b c"), Some(("a", "b c")));
        assert_eq!(split_merge("  x"), Some((" ", "x")));
        assert_eq!(split_merge("Ġ t"), Some(("Ġ", "t")));
        for merge in ["", " ", "ab", " b", "a "] {
            assert_eq!(split_merge(merge), None, "{merge:?}");
        }
    }

    #[test]
    fn every_broken_promise_is_named() {
        assert!(complaint(bpe_vocabulary(&[], &[])).contains("no tokens"));
        let base = bpe_vocabulary(&[("a", TokenType::Normal)], &[]);
        let merges = vec!["a b".to_owned(), "ab".to_owned()];
        assert!(complaint(Vocabulary { merges, ..base.clone() }).contains("merge 1"));
        assert!(complaint(Vocabulary { types: vec![], ..base.clone() }).contains("0 token types for 1"));
        let pre = complaint(Vocabulary { pre: "made-up".into(), ..base.clone() });
        assert!(pre.contains("made-up") && pre.contains("llama-bpe") && pre.contains("qwen2"), "{pre}");
        let mut ids = SpecialIds::default();
        ids.set(Role::Eos, Some(1));
        assert!(complaint(Vocabulary { ids, ..base }).contains("eos_token_id is 1"));
        let spm = spm_vocabulary(&[]);
        assert!(complaint(Vocabulary { scores: vec![0.0], ..spm.clone() }).contains("1 token scores"));
        let scores = vec![f32::NAN; spm.n_vocab()];
        assert!(complaint(Vocabulary { scores, ..spm }).contains("not a number"));
    }

    #[test]
    fn flags_of_added_tokens_come_back_from_their_number() {
        for code in 0..16 {
            assert_eq!(AddedFlags::from_code(code).code(), code);
        }
        assert_eq!(AddedFlags { rstrip: true, ..AddedFlags::default() }.code(), 2);
    }

    #[test]
    fn token_types_have_the_numbers_of_the_format() {
        for code in 0..=6 {
            assert_eq!(TokenType::from_code(code) as i32, code);
        }
        assert_eq!(TokenType::from_code(-3), TokenType::Undefined);
    }
}
