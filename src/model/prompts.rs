//! What embedding models want in front of texts, by what the texts are: queries, documents. GGUF has no keys for it, so
//! these are this program's own.

pub use crate::checkpoint::Prompts;
use crate::error::Result;
use crate::gguf::{Metadata, Value};

const NAMES: &str = "gguf-kit.embedding.prompt_names";
const TEXTS: &str = "gguf-kit.embedding.prompts";
const DEFAULT: &str = "gguf-kit.embedding.default_prompt_name";
const IS_LEFT_OUT: &str = "gguf-kit.embedding.prompt_is_left_out";

impl Prompts {
    /// Those that a file names.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for keys of other types.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let (names, texts) = (metadata.strings(NAMES)?, metadata.strings(TEXTS)?);
        let named = names.into_iter().flatten().zip(texts.into_iter().flatten());
        Ok(Self {
            named: named.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            default: metadata.string(DEFAULT)?.map(str::to_owned),
            is_left_out: metadata.bool(IS_LEFT_OUT)?.unwrap_or(false),
        })
    }

    /// The keys that say so.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, Value)> {
        if self.named.is_empty() {
            return Vec::new();
        }
        let (names, texts) = self.named.iter().cloned().unzip();
        let mut pairs = vec![(NAMES, Value::Strings(names)), (TEXTS, Value::Strings(texts))];
        pairs.extend(self.default.clone().map(|name| (DEFAULT, Value::String(name))));
        pairs.extend(self.is_left_out.then_some((IS_LEFT_OUT, Value::Bool(true))));
        pairs
    }

    /// The text with this name.
    pub fn named(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}
