//! Families whose models have one of two GELUs: the usual one goes without saying, the other stands in a key.

use gguf_simd::ops::Gate;

use super::{FromConfig, Keys};
use crate::error::{Error, Result};
use crate::gguf::Value;

/// The field's key of the activation.
const KEY: &str = "hidden_activation";

/// The GELU that transformers calls `word`.
fn gelu_of(word: &str) -> Option<Gate> {
    match word {
        "gelu" | "gelu_python" => Some(Gate::GeluErf),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" => Some(Gate::GeluTanh),
        _ => None,
    }
}

impl FromConfig<'_> {
    /// Writes which GELU the configuration has under `name`, where it is another one than `usual`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another activation.
    pub fn gelu(&mut self, name: &str, usual: Gate) -> Result<()> {
        let Some(word) = self.config.string(name)? else { return Ok(()) };
        let Some(gate) = gelu_of(word) else {
            let what = format!("{name} \"{word}\"; the {} architecture has a GELU", self.arch);
            return Err(self.unsupported(what));
        };
        if gate != usual {
            let word = if gate == Gate::GeluErf { "gelu" } else { "gelu_pytorch_tanh" };
            self.put(KEY, Value::String(word.into()));
        }
        Ok(())
    }
}

impl Keys<'_> {
    /// The GELU of the model: `usual` where the key is absent.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another activation.
    pub fn gelu(&self, usual: Gate) -> Result<Gate> {
        let Some(word) = self.string(KEY)? else { return Ok(usual) };
        gelu_of(word).ok_or_else(|| {
            let what = format!("{} {word:?}; the {} architecture has a GELU", self.full(KEY), self.arch());
            Error::unsupported(self.path(), what)
        })
    }
}
