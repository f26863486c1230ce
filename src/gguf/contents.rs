//! What a file is: a model, or something that goes with one.

use super::metadata::Metadata;
use crate::error::{Error, Result};

impl Metadata {
    /// The architecture of the model in the file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a file that is not a model, with what to do; [`Error::Malformed`] if nothing says what the
    /// model is.
    pub fn architecture(&self) -> Result<&str> {
        self.check_is_model()?;
        self.required_string("general.architecture")
    }

    /// Checks that the file is a model, as far as its metadata say what else it is.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it is something else, with what to do.
    pub fn check_is_model(&self) -> Result<()> {
        let has = |key: &str, value: &str| self.string(key).is_ok_and(|found| found == Some(value));
        let what = if has("general.type", "adapter") && self.contains("adapter.type") {
            "an adapter (LoRA) where a model is needed: give the model that it is for, and this file by --lora"
        } else if has("general.type", "imatrix") || self.contains("imatrix.chunk_count") {
            "an importance matrix where a model is needed: give the model, and this file to gguf-convert by --imatrix; \
             `gguf-run imatrix show` shows it"
        } else if has("general.architecture", "controlvector") {
            "a control vector where a model is needed, and this program applies none: give the model that it is for"
        } else {
            return Ok(());
        };
        Err(Error::unsupported(self.path(), what))
    }
}
