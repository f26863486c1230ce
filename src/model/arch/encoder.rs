//! What encoders have alike: keys, and layers as BERT has them.

use super::base::{Base, see_all};
use super::config::FromConfig;
use super::keys::TOKEN_TYPES;
use super::names::Sources;
use super::pooled;
use crate::error::Result;
use crate::gguf::Value;
use crate::model::arch::source::Source;
use crate::model::spec::layer::{FfnInput, LayerSpec};
use crate::model::spec::{ModelSpec, Pooling, Promise, Promises, Role, Slot};

/// Writes the keys that encoders have beside others: the attention is not causal, how many kinds of texts there are
/// (`n_types`), and the labels of classes.
///
/// # Errors
/// [`crate::Error::Malformed`] for values of other types.
pub(super) fn keys(made: &mut FromConfig<'_>, n_types: usize) -> Result<()> {
    made.put("attention.causal", Value::Bool(false));
    if n_types > 0 {
        made.put_bare(TOKEN_TYPES, Value::U32(n_types as u32));
    }
    if !pooled::has_classifier(made.config)? {
        return Ok(());
    }
    made.put("pooling_type", Value::U32(pooled::RANK as u32));
    let labels = pooled::labels(made.config)?;
    made.put("classifier.output_labels", Value::Strings(labels));
    Ok(())
}

/// Where the tensors of a classifier lie, if the slot is for one: under these names, in checkpoints of classes that
/// have them.
///
/// # Errors
/// As [`pooled::has_classifier`].
pub(super) fn head(
    sources: &Sources<'_>,
    slot: &Slot,
    names: &[(Role, &str)],
) -> Result<Option<Option<Source>>> {
    if !matches!(slot.id.role, Role::Cls | Role::ClsNorm | Role::ClsOutput) {
        return Ok(None);
    }
    let name = names.iter().find(|(role, _)| *role == slot.id.role).map(|(_, name)| *name);
    let is_there = pooled::has_classifier(sources.config)?;
    let name = name.filter(|_| is_there);
    Ok(Some(name.map(|name| Source::whole(slot, vec![format!("{name}.{}", slot.id.suffix.name())]))))
}

/// No output matrix, and biases everywhere or nowhere.
pub(super) fn promises(has_bias: bool) -> Promises {
    let bias = Promise::of(has_bias);
    Promises { is_tied: None, qkv_bias: bias, output_bias: bias, mlp_bias: bias }
}

/// The encoder with these layers, whose attention sees the whole text. Norms in front of parts stay where they are.
///
/// # Errors
/// [`crate::Error::Malformed`] for numbers that no model has.
pub(super) fn model(base: &Base<'_>, layers: Vec<LayerSpec>) -> Result<ModelSpec> {
    let mut model = of_decoder(base.model(layers)?);
    model.pooled.classifier = Some(pooled::classifier(&base.keys)?);
    Ok(model)
}

/// The encoder that a decoder becomes whose positions see the whole text.
pub(super) fn of_decoder(mut model: ModelSpec) -> ModelSpec {
    // Files need not say it of an architecture that knows no other.
    model.layers.iter_mut().for_each(see_all);
    model.head.has_logits = false;
    model.pooled.pooling = model.pooled.pooling.or((!model.pooled.ranks).then_some(Pooling::Mean));
    model
}

/// The encoder with these layers and norms where BERT has them: of the embedding, and of the stream behind both parts.
///
/// # Errors
/// As [`model`].
pub(super) fn bert(base: &Base<'_>, mut layers: Vec<LayerSpec>) -> Result<ModelSpec> {
    for layer in &mut layers {
        layer.mixer_norm = None;
        layer.ffn_input = FfnInput::Sequential(None);
        layer.mixer_stream_norm = Some(base.norm);
        layer.ffn_stream_norm = Some(base.norm);
    }
    let mut model = model(base, layers)?;
    model.embed.norm = Some(base.norm);
    model.embed.n_types = base.keys.n_types()?;
    model.head.norm = None;
    Ok(model)
}
