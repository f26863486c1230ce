//! How texts are made ready for an embedding model: what stands in front of them, by what they are (queries, documents), and
//! how they are changed and cut. GGUF has no keys for it, so these are this program's own.

use std::borrow::Cow;

pub use crate::checkpoint::TextRules;
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};

const NAMES: &str = "gguf-kit.embedding.prompt_names";
const TEXTS: &str = "gguf-kit.embedding.prompts";
const DEFAULT: &str = "gguf-kit.embedding.default_prompt_name";
const IS_LEFT_OUT: &str = "gguf-kit.embedding.prompt_is_left_out";
const LOWERCASE: &str = "gguf-kit.embedding.lowercase";
const MAX_TOKENS: &str = "gguf-kit.embedding.max_tokens";

impl TextRules {
    /// Those that a file states.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for keys of other types.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let (names, texts) = (metadata.strings(NAMES)?, metadata.strings(TEXTS)?);
        let [n_names, n_texts] =
            [names.as_ref().map_or(0, |names| names.len()), texts.as_ref().map_or(0, |texts| texts.len())];
        if n_names != n_texts {
            let what = format!("{NAMES} has {n_names} entries, and {TEXTS} has {n_texts}");
            return Err(Error::malformed(metadata.path(), what));
        }
        let prompts = names.into_iter().flatten().zip(texts.into_iter().flatten());
        Ok(Self {
            prompts: prompts.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            default_prompt: metadata.string(DEFAULT)?.map(str::to_owned),
            leaves_out_prompt: metadata.bool(IS_LEFT_OUT)?.unwrap_or(false),
            lowercases: metadata.bool(LOWERCASE)?.unwrap_or(false),
            max_tokens: metadata.count(MAX_TOKENS)?.filter(|&n| n > 0),
        })
    }

    /// The keys that say so.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, Value)> {
        let mut pairs = Vec::new();
        if !self.prompts.is_empty() {
            let (names, texts) = self.prompts.iter().cloned().unzip();
            pairs.extend([(NAMES, Value::Strings(names)), (TEXTS, Value::Strings(texts))]);
            pairs.extend(self.default_prompt.clone().map(|name| (DEFAULT, Value::String(name))));
            pairs.extend(self.leaves_out_prompt.then_some((IS_LEFT_OUT, Value::Bool(true))));
        }
        pairs.extend(self.lowercases.then_some((LOWERCASE, Value::Bool(true))));
        let max_tokens = self.max_tokens.and_then(|n| u32::try_from(n).ok());
        pairs.extend(max_tokens.map(|n| (MAX_TOKENS, Value::U32(n))));
        pairs
    }

    /// The prompt with this name.
    pub fn prompt(&self, name: &str) -> Option<&str> {
        self.prompts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// `text` with the changes that are made before it is tokenised.
    pub fn changed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.lowercases { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
    }
}
