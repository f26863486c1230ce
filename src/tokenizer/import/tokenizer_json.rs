//! The file tokenizer.json of the `tokenizers` library, as far as conversion needs it.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;

/// The name of the file.
pub(super) const NAME: &str = "tokenizer.json";

/// A parsed tokenizer.json.
#[derive(Deserialize)]
pub(super) struct TokenizerJson {
    #[serde(skip)]
    pub(super) path: PathBuf,
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    pub(super) model: Model,
}

/// A token outside the model proper.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: usize,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
}

/// The model: vocabulary and merges.
#[derive(Deserialize)]
pub(super) struct Model {
    /// Absent in the oldest files, which are BPE if they have merges.
    #[serde(rename = "type")]
    pub(super) ty: Option<String>,
    pub(super) vocab: Vocab,
    #[serde(default)]
    pub(super) merges: Vec<Merge>,
    pub(super) unk_token: Option<String>,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
}

/// Ids by token; `None` where the file has a list of pieces instead (unigram models).
pub(super) struct Vocab(pub(super) Option<HashMap<String, usize>>);

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token ids or a list of pieces")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Vocab, A::Error> {
                let mut ids = HashMap::new();
                while let Some((token, id)) = entries.next_entry()? {
                    ids.insert(token, id);
                }
                Ok(Vocab(Some(ids)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pieces: A) -> std::result::Result<Vocab, A::Error> {
                while pieces.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocab(None))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// A merge, as older and newer files write it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Merge {
    /// `"left right"`.
    Line(String),
    /// `["left", "right"]`.
    Pair(String, String),
}

impl Merge {
    /// The two halves; `None` for a line without a space.
    pub(super) fn halves(&self) -> Option<(&str, &str)> {
        match self {
            Self::Line(line) => line.split_once(' '),
            Self::Pair(left, right) => Some((left, right)),
        }
    }
}

impl TokenizerJson {
    /// Reads the file in `folder`, if there is one.
    ///
    /// # Errors
    /// `Io`; `Limit` for a file too long; `Malformed` if it is not of this form.
    pub(super) fn open(folder: &Folder) -> Result<Option<Self>> {
        let text = folder.read_text(NAME, MAX_JSON_BYTES)?;
        text.map(|text| Self::parse(&folder.join(NAME), &text)).transpose()
    }

    /// Parses `text`; `path` is for messages.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        let parsed: Self = serde_json::from_str(text)
            .map_err(|e| Error::malformed(path, format!("not a tokenizer.json: {e}")))?;
        Ok(Self { path: path.to_owned(), ..parsed })
    }

    /// Whether the model joins bytes (GPT-2's way).
    pub(super) fn is_byte_level(&self) -> bool {
        has_type(&self.pre_tokenizer, "ByteLevel") || has_type(&self.decoder, "ByteLevel")
    }

    /// The special tokens before and behind every text, as the post-processor's template has them;
    /// `None` without a template.
    pub(super) fn template_ends(&self) -> Option<(Option<&str>, Option<&str>)> {
        let template =
            flatten(&self.post_processor).into_iter().find(|part| type_of(part) == "TemplateProcessing")?;
        let single = template["single"].as_array()?;
        Some((special_text(single.first()), special_text(single.last())))
    }
}

fn special_text(part: Option<&Value>) -> Option<&str> {
    part?["SpecialToken"]["id"].as_str()
}

/// The `type` of a component, or nothing.
pub(super) fn type_of(component: &Value) -> &str {
    component["type"].as_str().unwrap_or_default()
}

/// The components of a sequence, however deep, in order; a component that is no sequence is its own.
pub(super) fn flatten(component: &Value) -> Vec<&Value> {
    if component.is_null() {
        return Vec::new();
    }
    if type_of(component) != "Sequence" {
        return vec![component];
    }
    let lists = ["normalizers", "pretokenizers", "processors", "decoders"];
    lists.iter().filter_map(|list| component[*list].as_array()).flatten().flat_map(flatten).collect()
}

fn has_type(component: &Value, ty: &str) -> bool {
    flatten(component).iter().any(|part| type_of(part) == ty)
}
