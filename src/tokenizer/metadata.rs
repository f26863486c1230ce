//! A vocabulary in the keys of a GGUF, both ways.

use super::special_ids::{Role, SpecialIds};
use super::vocabulary::{Kind, TokenType, Vocabulary};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const REMOVE_EXTRA_WHITESPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const CHAT_TEMPLATE_NAMES: &str = "tokenizer.chat_templates";

/// The further ends of a generation, as far as no key of the field names them: a key of this program.
const END_IDS: &str = "gguf-kit.tokenizer.end_token_ids";

/// An id of this value, -1 in 32 bits, says that there is no such token.
const NO_TOKEN: u32 = u32::MAX;

impl Kind {
    /// The value of `tokenizer.ggml.model`.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::ByteLevelBpe => "gpt2",
            Self::SentencePiece => "llama",
        }
    }
}

impl Vocabulary {
    /// Reads the `tokenizer.*` keys.
    ///
    /// What a file leaves out: all types are normal, the pre-tokenizer is `default`, and SentencePiece
    /// vocabularies have their unknown, beginning and end tokens at 0, 1 and 2. Ids of minor roles
    /// that lie outside the vocabulary are left out, as files have them.
    ///
    /// # Errors
    /// `Unsupported` for another kind of tokenizer or an unknown pre-tokenizer, with what is supported;
    /// `Malformed` for keys that are absent, of the wrong type or length, or beginning and end tokens
    /// outside the vocabulary.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let kind = kind_of(metadata)?;
        let tokens = tokens_of(metadata)?;
        let types = match metadata.i32s(TYPES)? {
            Some(codes) => codes.into_iter().map(TokenType::from_code).collect(),
            None => vec![TokenType::Normal; tokens.len()],
        };
        let (scores, merges) = match kind {
            Kind::SentencePiece => {
                let absent = || {
                    Error::malformed(metadata.path(), format!("a SentencePiece vocabulary without {SCORES}"))
                };
                (metadata.f32s(SCORES)?.ok_or_else(absent)?, Vec::new())
            }
            Kind::ByteLevelBpe => {
                let absent =
                    || Error::malformed(metadata.path(), format!("a BPE vocabulary without {MERGES}"));
                (Vec::new(), metadata.strings(MERGES)?.ok_or_else(absent)?.map(str::to_owned).collect())
            }
        };
        let vocabulary = Self {
            kind,
            pre: metadata.string(PRE)?.filter(|pre| !pre.is_empty()).unwrap_or("default").to_owned(),
            ids: ids_of(metadata, kind, tokens.len())?,
            tokens,
            types,
            scores,
            merges,
            add_bos: metadata.bool(ADD_BOS)?,
            add_eos: metadata.bool(ADD_EOS)?,
            add_space_prefix: metadata.bool(ADD_SPACE_PREFIX)?,
            remove_extra_whitespaces: metadata.bool(REMOVE_EXTRA_WHITESPACES)?,
            chat_template: metadata.string(CHAT_TEMPLATE)?.map(str::to_owned),
            named_templates: named_templates_of(metadata)?,
            model_name: metadata.string("general.name")?.map(str::to_owned),
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
        if self.kind == Kind::SentencePiece {
            put(SCORES, Value::F32s(self.scores.clone()));
        }
        put(TYPES, Value::I32s(self.types.iter().map(|&ty| ty as i32).collect()));
        if self.kind == Kind::ByteLevelBpe {
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
            (ADD_SPACE_PREFIX, self.add_space_prefix),
            (REMOVE_EXTRA_WHITESPACES, self.remove_extra_whitespaces),
        ];
        for (key, flag) in flags {
            if let Some(flag) = flag {
                put(key, Value::Bool(flag));
            }
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

fn kind_of(metadata: &Metadata) -> Result<Kind> {
    let model = metadata.required_string(MODEL)?;
    [Kind::ByteLevelBpe, Kind::SentencePiece].into_iter().find(|kind| kind.gguf_name() == model).ok_or_else(
        || {
            let what = format!(
                "the tokenizer {model:?} ({MODEL}); supported are \"gpt2\" (byte-level BPE) and \
             \"llama\" (SentencePiece BPE)"
            );
            Error::unsupported(metadata.path(), what)
        },
    )
}

/// The tokens; an empty one, which could never be told from nothing, gets a name of its own.
fn tokens_of(metadata: &Metadata) -> Result<Vec<String>> {
    let absent = || Error::malformed(metadata.path(), format!("a tokenizer without {TOKENS}"));
    let tokens = metadata.strings(TOKENS)?.ok_or_else(absent)?;
    let named =
        |(i, token): (usize, &str)| if token.is_empty() { format!("[EMPTY_{i}]") } else { token.to_owned() };
    Ok(tokens.enumerate().map(named).collect())
}

fn ids_of(metadata: &Metadata, kind: Kind, n_vocab: usize) -> Result<SpecialIds> {
    let mut ids = SpecialIds::default();
    if kind == Kind::SentencePiece {
        for (role, id) in [(Role::Unknown, 0), (Role::Bos, 1), (Role::Eos, 2)] {
            ids.set(role, Some(id).filter(|&id| (id as usize) < n_vocab));
        }
    }
    for (role, keys) in SpecialIds::keys() {
        for key in keys.iter().rev() {
            let Some(id) = metadata.u32(&format!("tokenizer.ggml.{key}"))? else { continue };
            let decisive = matches!(role, Role::Bos | Role::Eos);
            if id == NO_TOKEN {
                ids.set(role, None);
            } else if (id as usize) < n_vocab || decisive {
                ids.set(role, Some(id));
            }
        }
    }
    let ends = metadata.i32s(END_IDS)?.unwrap_or_default();
    let ends = ends.into_iter().filter_map(|id| u32::try_from(id).ok());
    ids.set_further_ends(ends.filter(|&id| (id as usize) < n_vocab).collect());
    Ok(ids)
}

fn named_templates_of(metadata: &Metadata) -> Result<Vec<(String, String)>> {
    let mut templates = Vec::new();
    let Some(names) = metadata.strings(CHAT_TEMPLATE_NAMES)? else { return Ok(templates) };
    for name in names {
        if let Some(source) = metadata.string(&format!("{CHAT_TEMPLATE}.{name}"))? {
            templates.push((name.to_owned(), source.to_owned()));
        }
    }
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{GgufFile, GgufWriter, Layout};
    use crate::tokenizer::vocabulary::tests::{bpe_vocabulary, spm_vocabulary};

    /// What a file with these pairs (and an architecture) gives.
    fn read(pairs: Vec<(String, Value)>) -> Result<Vocabulary> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vocab.gguf");
        let layout = Layout::new(pairs, Vec::new(), 32).unwrap();
        GgufWriter::create(&path, layout, false).unwrap().finish().unwrap();
        Vocabulary::from_metadata(GgufFile::open(&path).unwrap().metadata())
    }

    /// The pairs of a byte-level vocabulary of three tokens, with `changes` made: a value replaces or
    /// adds, `None` removes.
    fn changed(changes: &[(&str, Option<Value>)]) -> Vec<(String, Value)> {
        let tokens = [("a", TokenType::Normal), ("b", TokenType::Normal), ("ab", TokenType::Normal)];
        let mut pairs = bpe_vocabulary(&tokens, &["a b"]).to_metadata();
        for (key, value) in changes {
            pairs.retain(|(known, _)| known != key);
            pairs.extend(value.clone().map(|value| ((*key).to_owned(), value)));
        }
        pairs
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bpe = bpe_vocabulary(&[("a", TokenType::Normal), ("<s>", TokenType::Control)], &["a a"]);
        bpe.ids.set(Role::Bos, Some(1));
        bpe.ids.set(Role::Separator, Some(0));
        bpe.ids.set_further_ends(vec![1, 0]);
        bpe.add_bos = Some(true);
        bpe.chat_template = Some("{{ x }}".into());
        bpe.named_templates = vec![("rag".into(), "r".into()), ("tool_use".into(), "t".into())];
        assert_eq!(read(bpe.to_metadata()).unwrap(), bpe);
        let mut spm = spm_vocabulary(&[("▁a", -1.5), ("a", 0.0)]);
        spm.add_space_prefix = Some(false);
        assert_eq!(read(spm.to_metadata()).unwrap(), spm);
    }

    #[test]
    fn absent_keys_have_their_defaults() {
        let vocabulary = read(changed(&[(PRE, None), (TYPES, None)])).unwrap();
        assert_eq!((vocabulary.pre.as_str(), vocabulary.types), ("default", vec![TokenType::Normal; 3]));
        assert_eq!(vocabulary.ids, SpecialIds::default());
        let mut pairs = spm_vocabulary(&[]).to_metadata();
        pairs.retain(|(key, _)| !key.ends_with("_token_id"));
        let ids = read(pairs).unwrap().ids;
        assert_eq!(
            [Role::Unknown, Role::Bos, Role::Eos].map(|role| ids.get(role)),
            [Some(0), Some(1), Some(2)]
        );
    }

    #[test]
    fn unknown_kinds_are_named_with_the_supported_ones() {
        let message = read(changed(&[(MODEL, Some(Value::String("rwkv".into())))])).unwrap_err().to_string();
        assert!(
            message.contains("rwkv") && message.contains("gpt2") && message.contains("llama"),
            "{message}"
        );
    }

    #[test]
    fn absent_or_unequal_arrays_are_refused() {
        for key in [MODEL, TOKENS, MERGES] {
            let message = read(changed(&[(key, None)])).unwrap_err().to_string();
            assert!(message.contains(key), "{key}: {message}");
        }
        assert!(read(changed(&[(TYPES, Some(Value::I32s(vec![1])))])).is_err());
        assert!(read(changed(&[(MERGES, Some(Value::Strings(vec!["ab".into()])))])).is_err());
        let mut pairs = spm_vocabulary(&[]).to_metadata();
        pairs.retain(|(key, _)| key != SCORES);
        assert!(read(pairs).unwrap_err().to_string().contains(SCORES));
    }

    #[test]
    fn ids_outside_matter_only_for_the_beginning_and_the_end() {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let padding = read(changed(&[(&key("padding_token_id"), Some(Value::U32(3)))])).unwrap();
        assert_eq!(padding.ids.get(Role::Padding), None);
        let none = read(changed(&[(&key("bos_token_id"), Some(Value::U32(u32::MAX)))])).unwrap();
        assert_eq!(none.ids.get(Role::Bos), None);
        let message = read(changed(&[(&key("eos_token_id"), Some(Value::U32(3)))])).unwrap_err().to_string();
        assert!(message.contains("eos_token_id is 3"), "{message}");
        let older = read(changed(&[(&key("prefix_token_id"), Some(Value::U32(2)))])).unwrap();
        assert_eq!(older.ids.get(Role::FimPrefix), Some(2));
    }

    #[test]
    fn empty_tokens_get_names() {
        let tokens = Value::Strings(vec![String::new(), "b".into(), String::new()]);
        assert_eq!(read(changed(&[(TOKENS, Some(tokens))])).unwrap().tokens, ["[EMPTY_0]", "b", "[EMPTY_2]"]);
    }
}
