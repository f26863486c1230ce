//! Sensitivities: how far a model's predictions move when a tensor loses precision.
//!
//! The divergence of a model whose weights err a little is nearly the sum of what each tensor's error causes alone,
//! and that is nearly proportional to the square of the error. So one measurement of each tensor, with an error of
//! known size, tells what any type would cost in its place. Source: Malinovskii et al., "Pushing the Limits of Large
//! Language Model Quantization via the Linearity Theorem", 2024.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::new_file::{NewFile, free_target};
use crate::regular_file;

/// What a file of sensitivities says of its format.
const FORMAT: &str = "gguf-kit sensitivity 1";

/// Bytes of such a file at most: a hundred thousand tensors fit.
const MAX_BYTES: u64 = 64 << 20;

/// How sensitive a model is to errors of its tensors.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sensitivity {
    format: String,
    /// The model that was measured, for people.
    pub model: String,
    /// The text it read, for people.
    pub text: String,
    /// Tokens whose predictions were compared.
    pub n_scored: usize,
    /// By the names of the tensors.
    pub tensors: BTreeMap<String, Probe>,
}

/// What an error of one tensor did.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Probe {
    /// The mean Kullback-Leibler divergence from the model as it is, in nats.
    pub divergence: f64,
    /// The sum of the squared errors over that of the squared weights.
    pub error: f64,
}

impl Probe {
    /// The divergence for each unit of squared relative error.
    pub fn slope(self) -> f64 {
        self.divergence / self.error
    }
}

impl Sensitivity {
    /// Measurements on `text`, of `n_scored` tokens.
    pub fn new(model: String, text: String, n_scored: usize, tensors: BTreeMap<String, Probe>) -> Self {
        Self { format: FORMAT.to_owned(), model, text, n_scored, tensors }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if it is not a file of sensitivities, or says what cannot have been
    /// measured.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = regular_file::read(path, MAX_BYTES)?;
        let other = |e| {
            Error::malformed(
                path,
                format!("it is not a file of sensitivities ({e}); gguf-run sensitivity makes one"),
            )
        };
        let read: Self = serde_json::from_slice(&bytes).map_err(other)?;
        if read.format != FORMAT {
            let what = format!("its format is {:?}, and this program reads {FORMAT:?}", read.format);
            return Err(Error::malformed(path, format!("{what}; measure again with gguf-run sensitivity")));
        }
        let is_sound = |probe: &Probe| {
            probe.divergence.is_finite()
                && probe.divergence >= 0.0
                && probe.error.is_finite()
                && probe.error > 0.0
        };
        match read.tensors.iter().find(|(_, probe)| !is_sound(probe)) {
            None => Ok(read),
            Some((name, probe)) => Err(Error::malformed(
                path,
                format!(
                    "tensor {}: a divergence of {} for an error of {} cannot have been measured; measure again with \
                     gguf-run sensitivity",
                    name.escape_debug(),
                    probe.divergence,
                    probe.error
                ),
            )),
        }
    }

    /// Writes it to `path`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is a file that is not to be replaced; [`Error::Io`].
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<()> {
        let target = free_target(path, "sensitivity.json", overwrite)?;
        let text = serde_json::to_string_pretty(self).expect("numbers and texts") + "\n";
        NewFile::write(target, path, text.as_bytes(), overwrite)
    }
}
