//! The file tokenizer.json of the `tokenizers` library, as far as conversion needs it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::{MAX_JSON_BYTES, MAX_TOKENIZER_COMPONENTS};
use crate::tokenizer::vocabulary::AddedFlags;

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
    /// `None` for a token that a file names without its number: it has the one it has already, or the next.
    pub(super) id: Option<usize>,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) single_word: bool,
    /// Whether it is looked for after normalisation; by default special tokens are not.
    pub(super) normalized: Option<bool>,
}

impl AddedToken {
    /// A token without flags.
    pub(super) fn plain(id: Option<usize>, content: &str, special: bool) -> Self {
        Self {
            id,
            content: content.to_owned(),
            special,
            lstrip: false,
            rstrip: false,
            single_word: false,
            normalized: None,
        }
    }

    /// How it is matched.
    pub(super) fn flags(&self) -> AddedFlags {
        AddedFlags {
            lstrip: self.lstrip,
            rstrip: self.rstrip,
            single_word: self.single_word,
            normalized: self.normalized.unwrap_or(!self.special),
        }
    }
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
    pub(super) unk_id: Option<usize>,
    pub(super) max_input_chars_per_word: Option<usize>,
    pub(super) continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f64>,
    #[serde(default)]
    pub(super) ignore_merges: bool,
}

/// Tokens in the file's order.
pub(super) enum Vocab {
    /// With their ids.
    Ids(Vec<(String, usize)>),
    /// With their scores; the ids are their places (Unigram models).
    Pieces(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token ids or a list of pieces")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Vocab, A::Error> {
                let mut tokens = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    tokens.push(entry);
                }
                Ok(Vocab::Ids(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Vocab, A::Error> {
                let mut pieces = Vec::new();
                while let Some(piece) = list.next_element()? {
                    pieces.push(piece);
                }
                Ok(Vocab::Pieces(pieces))
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
    ///
    /// # Errors
    /// `Malformed` if it is not of this form, or names tokens that it does not define; `Limit` for a normalizer or pre-tokenizer of too many components,
    /// each of which would be compiled and run.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        let parsed: Self = serde_json::from_str(text)
            .map_err(|e| Error::malformed(path, format!("not a tokenizer.json: {e}")))?;
        for component in [&parsed.normalizer, &parsed.pre_tokenizer] {
            let n = flatten(component).len();
            if n > MAX_TOKENIZER_COMPONENTS {
                return Err(Error::limit(format!(
                    "{}: a {} of {n} components; at most {MAX_TOKENIZER_COMPONENTS} are read",
                    path.display(),
                    type_of(component),
                )));
            }
        }
        if let Some(text) = parsed.undefined_special() {
            let what = format!(
                "the post_processor puts {text:?} around texts, and its special_tokens do not say what that is: \
                 transformers cannot use such a file either; add it there, or save the tokenizer anew"
            );
            return Err(Error::malformed(path, what));
        }
        Ok(Self { path: path.to_owned(), ..parsed })
    }

    /// A special token that a template puts around texts without an entry that defines it.
    fn undefined_special(&self) -> Option<&str> {
        flatten(&self.post_processor).into_iter().find_map(|part| {
            let defined = part["special_tokens"].as_object()?;
            let parts = ["single", "pair"].iter().filter_map(|list| part[*list].as_array()).flatten();
            let mut texts = parts.filter_map(|piece| special_text(Some(piece)));
            texts.find(|text| !defined.contains_key(*text))
        })
    }

    /// The vocabulary of a BPE model.
    ///
    /// # Errors
    /// `Unsupported` for another model, or one whose tokens have marks where words begin or end.
    pub(super) fn bpe_vocab(&self) -> Result<&[(String, usize)]> {
        let unsupported = |what: String| Err(Error::unsupported(&self.path, what));
        let model = &self.model;
        for (key, mark) in [
            ("continuing_subword_prefix", &model.continuing_subword_prefix),
            ("end_of_word_suffix", &model.end_of_word_suffix),
        ] {
            if let Some(mark) = mark.as_deref().filter(|mark| !mark.is_empty()) {
                return unsupported(format!("{key} {mark:?} in tokenizer.json, which GGUF cannot say"));
            }
        }
        match (model.ty.as_deref(), &model.vocab) {
            (None | Some("BPE"), Vocab::Ids(vocab)) => Ok(vocab),
            (ty, _) => {
                let ty = ty.unwrap_or("Unigram");
                unsupported(format!(
                    "the tokenizer model {ty:?} in tokenizer.json; supported are BPE (of bytes or SentencePiece), \
                     WordPiece and Unigram"
                ))
            }
        }
    }

    /// What GGUF cannot say and is left out.
    pub(super) fn left_out(&self) -> Option<String> {
        self.model.dropout.filter(|&dropout| dropout > 0.0).map(|dropout| {
            format!("tokenizer: dropout {dropout} in tokenizer.json, which makes ids random, is left out")
        })
    }

    /// Whether the model joins bytes (GPT-2's way).
    pub(super) fn is_byte_level(&self) -> bool {
        has_type(&self.pre_tokenizer, "ByteLevel") || has_type(&self.decoder, "ByteLevel")
    }

    /// Whether the model is of the type `ty`; files of Unigram models may not say.
    pub(super) fn is(&self, ty: &str) -> bool {
        let untyped = if matches!(self.model.vocab, Vocab::Pieces(_)) { "Unigram" } else { "BPE" };
        self.model.ty.as_deref().unwrap_or(untyped) == ty
    }

    /// The special tokens before and behind every text, as the post-processor has them; `None` without one
    /// that adds any.
    pub(super) fn template_ends(&self) -> Option<(Option<&str>, Option<&str>)> {
        adder(&self.post_processor)?;
        let [before, behind] = specials_around(&self.post_processor);
        Some((before.first().copied(), behind.last().copied()))
    }

    /// Whether two special tokens stand between two texts; `None` where the post-processor does not say.
    pub(super) fn parts_pairs_twice(&self) -> Option<bool> {
        let adder = adder(&self.post_processor)?;
        match type_of(adder) {
            "RobertaProcessing" => Some(true),
            "BertProcessing" => Some(false),
            _ => {
                let parts = adder["pair"].as_array()?;
                let texts = (0..parts.len()).filter(|&i| special_text(parts.get(i)).is_none());
                let at: Vec<usize> = texts.collect();
                let [first, second] = at[..] else { return None };
                Some(second - first > 2)
            }
        }
    }

    /// What GGUF cannot say of the tokens around texts.
    pub(super) fn more_around(&self) -> Option<String> {
        let around = specials_around(&self.post_processor);
        around.iter().any(|texts| texts.len() > 1).then(|| {
            format!(
                "tokenizer: by tokenizer.json {:?} come before every text and {:?} behind it, and GGUF has room for \
                 one each; write them where they are wanted, as chat templates do",
                around[0], around[1]
            )
        })
    }
}

/// The part of a post-processor that adds special tokens.
fn adder(post_processor: &Value) -> Option<&Value> {
    const TYPES: [&str; 3] = ["TemplateProcessing", "BertProcessing", "RobertaProcessing"];
    flatten(post_processor).into_iter().find(|part| TYPES.contains(&type_of(part)))
}

/// The special tokens that a post-processor puts before every text, and those behind it.
pub(super) fn specials_around(post_processor: &Value) -> [Vec<&str>; 2] {
    let Some(adder) = adder(post_processor) else { return [Vec::new(), Vec::new()] };
    let Some(parts) = adder["single"].as_array() else {
        return ["cls", "sep"].map(|name| adder[name][0].as_str().into_iter().collect());
    };
    let text_at = parts.iter().position(|part| special_text(Some(part)).is_none()).unwrap_or(parts.len());
    [&parts[..text_at], &parts[text_at..]]
        .map(|parts| parts.iter().filter_map(|part| special_text(Some(part))).collect())
}

fn special_text(part: Option<&Value>) -> Option<&str> {
    part?["SpecialToken"]["id"].as_str()
}

/// The `type` of a component, or nothing.
pub(super) fn type_of(component: &Value) -> &str {
    component["type"].as_str().unwrap_or_default()
}

/// The components of a sequence, however deep, in order; a component that is not a sequence is its own.
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
