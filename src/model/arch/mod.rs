//! The model families: one file each, and the registry that lists them.
//!
//! A family is a declaration: how its config.json becomes GGUF keys, how keys become a
//! [`ModelSpec`], and what its checkpoints call the tensors. What families share is in `base`
//! (numbers and plain layers), `config` (plain keys), `names` (plain names) and `rope_scaling`.

mod base;
mod class_defaults;
mod config;
mod defaults;
mod dialect;
mod encoder;
mod families;
mod gelu;
mod keys;
pub mod missing;
mod mlx;
mod names;
mod pooled;
pub mod ranking;
mod refusals;
mod rope_scaling;
mod scalars;
mod source;
#[cfg(test)]
mod tests;
mod wrappers;

use std::path::Path;

use crate::checkpoint::{Config, Modules};
use crate::error::Result;
use crate::gguf::{Metadata, Value};
use crate::model::spec::{ModelSpec, Promises, Slot};

pub use config::FromConfig;
use config::Made;
pub use dialect::Dialect;
pub use keys::Keys;
pub use names::{Names, Sources};
pub use pooled::is_classifier;
pub use scalars::Scalars;
pub use source::{Piece, RowMap, Source, ValueMap, rows_and_columns};
pub use wrappers::by_classes;

/// The tensor whose rows are the tokens.
const EMBEDDING: &str = "token_embd.weight";

/// What classes around a language model call its configuration.
const TEXT_PARTS: [&str; 4] = ["text_config", "llm_config", "language_config", "lfm"];

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
    /// Makes the keys of a configuration.
    pub keys: fn(&mut FromConfig<'_>) -> Result<()>,
    /// Says what a model with these keys is.
    pub spec: fn(Keys<'_>) -> Result<ModelSpec>,
    /// What checkpoints call the tensors.
    pub names: Names,
    /// Where the values of a tensor lie in a checkpoint; `None` if checkpoints do not have it.
    pub source: fn(&Sources<'_>, &Slot) -> Result<Option<Source>>,
    /// Which tensors config.json says are there.
    pub promises: fn(&Config) -> Result<Promises>,
}

/// What is behind a model.
#[derive(Clone, Copy, Debug)]
pub struct Behind<'a> {
    /// The modules of its folder.
    pub modules: &'a Modules,
    /// How many words it answers with, whose logits score a text; 0 if it does not.
    pub n_answers: usize,
}

/// What a configuration becomes.
#[derive(Debug)]
pub struct Configured {
    /// The hyperparameter keys to write, without the tokenizer's and the general ones.
    pub pairs: MetadataPairs,
    /// What a file with them will be read as.
    pub spec: ModelSpec,
    /// Which tensors the checkpoint must have.
    pub promises: Promises,
    /// What a GGUF file cannot carry of the configuration and the user should know, a sentence each.
    pub notes: Vec<String>,
    /// The words whose logits score a text, the one that says yes first; empty for other models.
    pub answers: Vec<u32>,
}

impl Family {
    /// What the model in a file is; `shape_of` gives the shape of a tensor, outermost dimension first, by its name.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for numbers that are missing or that no model has,
    /// [`crate::Error::Unsupported`] for what this program does not compute.
    pub fn spec_of_file<'f>(
        &self,
        metadata: &Metadata,
        shape_of: &dyn Fn(&str) -> Option<&'f [usize]>,
    ) -> Result<ModelSpec> {
        let n_rows = shape_of(EMBEDDING).and_then(|shape| shape.first().copied());
        let has_tensor = |name: &str| shape_of(name).is_some();
        (self.spec)(Keys::of_file(self.gguf_name, (metadata, n_rows), &has_tensor))?.checked(metadata.path())
    }

    /// What a file at `path` with these pairs will be read as, whose tensors `has_tensor` knows by name.
    ///
    /// # Errors
    /// As [`Family::spec_of_file`].
    pub fn spec_of_pairs(
        &self,
        (path, pairs): (&Path, &MetadataPairs),
        has_tensor: &dyn Fn(&str) -> bool,
    ) -> Result<ModelSpec> {
        (self.spec)(Keys::made(self.gguf_name, path, pairs, has_tensor))?.checked(path)
    }

    /// What a configuration becomes that says all, of a model with nothing behind it.
    ///
    /// # Errors
    /// As [`Family::configure_with`].
    pub fn configure(&self, config: &Config) -> Result<Configured> {
        let behind = Behind { modules: &Modules::default(), n_answers: 0 };
        self.configure_with(config, Scalars::NONE, &behind)
    }

    /// What a configuration becomes; `scalars` are the numbers that its checkpoint keeps as tensors.
    ///
    /// # Errors
    /// As [`Family::spec_of_file`], with config.json at fault.
    pub fn configure_with(
        &self,
        config: &Config,
        scalars: Scalars<'_>,
        behind: &Behind<'_>,
    ) -> Result<Configured> {
        let text = text_part(config)?;
        let mut made = FromConfig::new(self.gguf_name, (&text, config), scalars);
        (self.keys)(&mut made)?;
        // Embedding models made of decoders may look ahead.
        if text.bool("is_causal")? == Some(false) && !made.contains("attention.causal") {
            made.put("attention.causal", Value::Bool(false));
        }
        pooled::put(&mut made, behind.modules)?;
        ranking::put(&mut made, behind.n_answers)?;
        let Made { pairs, notes, tensors } = made.finish();
        let has_tensor = |name: &str| tensors.iter().any(|tensor| tensor == name);
        let spec = self.spec_of_pairs((config.path(), &pairs), &has_tensor)?;
        let mut promises = (self.promises)(&text)?;
        let tie = "tie_word_embeddings";
        if let Some(is_tied) = config.bool(tie)? {
            promises.is_tied = Some(is_tied);
        } else if !text.says(tie) {
            let model_type = config.string("model_type")?.unwrap_or_default();
            let whole = class_defaults::assumed(config.clone(), model_type).bool(tie)?;
            promises.is_tied = whole.filter(|&is_tied| is_tied).or(promises.is_tied);
        }
        Ok(Configured { pairs, spec, promises, notes, answers: Vec::new() })
    }

    /// Where the values of a slot lie in a checkpoint that transformers saved; `None` if checkpoints of this family
    /// do not have it.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for a configuration that cannot be read.
    pub fn source_of(&self, spec: &ModelSpec, config: &Config, slot: &Slot) -> Result<Option<Source>> {
        self.source_in(Dialect::Transformers, (spec, config), slot)
    }

    /// Where the values of a slot lie in a checkpoint with the names and shapes of a program.
    ///
    /// # Errors
    /// As [`Self::source_of`].
    pub fn source_in(
        &self,
        dialect: Dialect,
        (spec, config): (&ModelSpec, &Config),
        slot: &Slot,
    ) -> Result<Option<Source>> {
        let text = text_part(config)?;
        if ranking::is_of_decoder(spec, slot) {
            return ranking::classes(slot, &text);
        }
        let sources = Sources { names: &self.names, spec, config: &text, dialect };
        let source = (self.source)(&sources, slot)?;
        Ok(match dialect {
            Dialect::Transformers => source,
            Dialect::Mlx => source.map(|source| mlx::source(&sources, slot, source)),
        })
    }
}

impl Configured {
    /// As [`Family::source_in`], with the rows of the output matrix that stand for answers.
    ///
    /// # Errors
    /// As there, and those of [`ranking::answers`].
    pub fn source_in(
        &self,
        dialect: Dialect,
        (family, config): (&Family, &Config),
        slot: &Slot,
    ) -> Result<Option<Source>> {
        if !self.answers.is_empty() && ranking::is_of_decoder(&self.spec, slot) {
            return ranking::answers(family, self, config).map(Some);
        }
        family.source_in(dialect, (&self.spec, config), slot)
    }
}

/// The part of a configuration that describes the language model.
///
/// # Errors
/// [`crate::Error::Malformed`] if it is not an object.
fn text_part(config: &Config) -> Result<Config> {
    // Of models that speak as well, it is in the part that thinks.
    if let Some(thinker) = config.object("thinker_config")? {
        return text_part(&thinker);
    }
    for name in TEXT_PARTS {
        let Some(text) = config.object(name)? else { continue };
        let model_type = match text.string("model_type")? {
            Some(model_type) => Some(model_type.to_owned()),
            None => wrappers::text_model_type(config)?.map(str::to_owned),
        };
        let is_known = model_type.as_deref().is_some_and(class_defaults::are_known);
        if is_known || text.value("hidden_size").is_some() {
            return Ok(class_defaults::assumed(text, model_type.as_deref().unwrap_or_default()));
        }
    }
    let own = config.string("model_type")?.filter(|own| class_defaults::are_known(own));
    let model_type = own.or(wrappers::text_model_type(config)?).unwrap_or_default();
    Ok(class_defaults::assumed(config.clone(), model_type))
}

/// The family that a GGUF file names in `general.architecture`.
pub fn by_gguf_name(name: &str) -> Option<&'static Family> {
    families::ALL.iter().copied().find(|family| family.gguf_name == name)
}

/// The family of a class in the `architectures` of config.json.
pub fn by_checkpoint_class(class: &str) -> Option<&'static Family> {
    families::ALL.iter().copied().find(|family| family.checkpoint_classes.contains(&class))
}

/// `family`, or the variant of it that shares its class and `model_type` and that a configuration means.
///
/// # Errors
/// [`crate::Error::Malformed`] for a configuration that cannot be read.
pub fn variant(family: &'static Family, config: &Config) -> Result<&'static Family> {
    let text = text_part(config)?;
    for &(of, is_meant, variant) in families::VARIANTS {
        if of.gguf_name == family.gguf_name && is_meant(&text)? {
            return Ok(variant);
        }
    }
    Ok(family)
}

/// The family of the `model_type` of config.json.
pub fn by_model_type(model_type: &str) -> Option<&'static Family> {
    families::ALL.iter().copied().find(|family| family.model_types.contains(&model_type))
}

/// The GGUF architectures this program knows.
pub fn gguf_names() -> impl Iterator<Item = &'static str> {
    families::ALL.iter().map(|family| family.gguf_name)
}
