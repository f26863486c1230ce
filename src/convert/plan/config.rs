//! What config.json makes of a checkpoint: its family, and what a file of it will say.

use regex::Regex;

use crate::checkpoint::{Checkpoint, Config};
use crate::convert::ranker::{Answers, Ranker};
use crate::convert::sources;
use crate::convert::stored::Tensors;
use crate::error::{Error, Result};
use crate::model::arch::{self, Behind, Configured, Family, Scalars};

/// A checkpoint, as far as its configuration tells.
pub(super) struct Read<'a> {
    pub(super) family: &'static Family,
    pub(super) configured: Configured,
    pub(super) stored: Tensors<'a>,
    pub(super) ranker: Ranker,
}

/// The family of the checkpoint's class; where config.json names none, of its `model_type`, by which
/// transformers chooses a class.
fn family_of(config: &Config, warnings: &mut Vec<String>) -> Result<&'static Family> {
    let path = config.path().display();
    let classes = config.strings("architectures")?.unwrap_or_default();
    let model_type = config.string("model_type")?;
    let by_type = model_type.and_then(arch::by_model_type);
    if classes.is_empty() {
        let Some(family) = by_type else {
            let what = match model_type {
                None if config.value("_class_name").is_some() => {
                    "it is of a part of a pipeline of diffusers, and language models are converted here"
                        .into()
                }
                None => "it names neither \"architectures\" nor a \"model_type\"".into(),
                Some(model_type) => {
                    format!("it names no \"architectures\"; {}", arch::missing::model_type(model_type))
                }
            };
            return Err(Error::unsupported(config.path(), what));
        };
        warnings.push(format!("{path} names no \"architectures\"; its model_type says what the model is"));
        return Ok(family);
    }
    let Some((class, family)) = arch::by_classes(&classes, config)? else {
        return Err(Error::unsupported(config.path(), arch::missing::classes(&classes)));
    };
    if classes.len() > 1 {
        warnings.push(format!("{path} names several \"architectures\"; {class} is taken"));
    }
    let is_wrapped = !family.checkpoint_classes.contains(&class);
    if let Some(model_type) = model_type.filter(|_| by_type.is_none() && !is_wrapped) {
        warnings.push(format!(
            "{path} names the model_type \"{model_type}\" beside the class {class}; the class is taken"
        ));
    }
    Ok(family)
}

/// Refuses quantised weights by their method. An entry that says so beside plain weights, as merging
/// adapters into a model leaves it behind, is a warning.
fn check_quantization(
    (checkpoint, tensors): (&Checkpoint, &Tensors<'_>),
    family: &Family,
    ignored: &[Regex],
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Some(method) = checkpoint.quantization_method() else { return Ok(()) };
    if family.names.packing == Some(method.as_str()) {
        return Ok(());
    }
    let is_kept = |name: &str| !ignored.iter().any(|pattern| pattern.is_match(name));
    if let Some(name) = tensors.first_unknown(is_kept) {
        return Err(sources::quantised(checkpoint, &method, name));
    }
    if tensors.has_quantised() {
        return Ok(());
    }
    let path = checkpoint.config().path().display();
    warnings.push(format!("{path} says that {method} quantised the weights; they are plain, and taken so"));
    Ok(())
}

/// Reads the configuration of a checkpoint; `answers` are the words by which it scores texts, if a user names them.
///
/// # Errors
/// As [`super::Plan::new`].
pub(super) fn read<'a>(
    checkpoint: &'a Checkpoint,
    ignored: &[Regex],
    answers: Option<&Answers>,
    warnings: &mut Vec<String>,
) -> Result<Read<'a>> {
    let config = checkpoint.config();
    let family = arch::variant(family_of(config, warnings)?, config)?;
    let stored = Tensors::of(checkpoint)?;
    check_quantization((checkpoint, &stored), family, ignored, warnings)?;
    let ranker = Ranker::of(checkpoint, answers)?;
    let scalars = |name: &str| sources::scalar(checkpoint, name);
    let integers = |name: &str| sources::integers(checkpoint, name);
    let behind = Behind { modules: checkpoint.modules(), n_answers: ranker.n_answers() };
    let configured =
        family.configure_with(config, Scalars { float: &scalars, integers: &integers }, &behind)?;
    Ok(Read { family, configured, stored, ranker })
}

/// Checks whether a checkpoint can be converted, as far as its configuration says.
///
/// # Errors
/// As [`super::Plan::new`].
pub fn check_config(checkpoint: &Checkpoint) -> Result<()> {
    read(checkpoint, &[], None, &mut Vec::new()).map(drop)
}
