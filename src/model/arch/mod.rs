//! The model families: one file each, and the registry that lists them.

pub mod llama;
mod rope_scaling;

use crate::checkpoint::Config;
use crate::error::Result;
use crate::gguf::{Metadata, Value};
use crate::model::{Hparams, TensorSpec};

pub use crate::model::spec::layer::RopeOrder;
pub use gguf_simd::ops::Gate;

/// Metadata to write, in order.
pub type MetadataPairs = Vec<(String, Value)>;

/// Everything that is particular to a model family. Converter and runtime reach it through
/// [`by_gguf_name`] and [`by_checkpoint_class`] only.
#[derive(Debug)]
pub struct Family {
    /// `general.architecture` in a GGUF file, and the prefix of its hyperparameter keys.
    pub gguf_name: &'static str,
    /// The `architectures` entries of config.json that belong to this family; a base model counts, whose
    /// head is its embedding.
    pub checkpoint_classes: &'static [&'static str],
    /// The `model_type`s of config.json that belong to this family.
    pub model_types: &'static [&'static str],
    /// What the names of a base model's tensors begin with inside the class with a head, and do not
    /// when the base model is saved alone (transformers' `base_model_prefix`, with its dot).
    pub base_prefix: &'static str,
    /// Reads the hyperparameters of a GGUF file.
    pub hparams_from_gguf: fn(&Metadata) -> Result<Hparams>,
    /// Reads the hyperparameters of a checkpoint.
    pub hparams_from_config: fn(&Config) -> Result<Hparams>,
    /// What a GGUF file cannot carry of a configuration and the user should know, a sentence each.
    pub notes_from_config: fn(&Hparams, &Config) -> Result<Vec<String>>,
    /// The hyperparameter keys to write, without the tokenizer's and the general ones.
    pub metadata: fn(&Hparams, &Config) -> Result<MetadataPairs>,
    /// Every tensor a model of this family may have. The configuration is at hand when a checkpoint
    /// is converted (it decides computed tensors), not when a GGUF file is run.
    pub tensors: fn(&Hparams, Option<&Config>) -> Result<Vec<TensorSpec>>,
    /// How the shared decoder is put together for this family.
    pub wiring: Wiring,
}

/// How the shared decoder is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// Which elements of a head rotate together.
    pub rope: RopeOrder,
    /// The feed-forward gate's activation.
    pub gate: Gate,
}

/// The registry: a new family is one file and one row.
const FAMILIES: &[&Family] = &[&llama::FAMILY];

/// The family that a GGUF file names in `general.architecture`.
pub fn by_gguf_name(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.gguf_name == name)
}

/// The family of a class in the `architectures` of config.json.
pub fn by_checkpoint_class(class: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.checkpoint_classes.contains(&class))
}

/// The family of the `model_type` of config.json.
pub fn by_model_type(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.model_types.contains(&model_type))
}

/// The GGUF architectures this program knows, for error messages.
pub fn gguf_names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.gguf_name)
}

/// The checkpoint classes this program knows, for error messages.
pub fn checkpoint_classes() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.checkpoint_classes.iter().copied())
}
