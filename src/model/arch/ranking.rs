//! Decoders that score texts: a matrix of classes sees the stream of the last position.
//!
//! Its rows are a classifier's own (`score.weight` of the classes `...ForSequenceClassification`), or those of the output
//! matrix that stand for the words of an answer: Qwen 3's rerankers say "yes" or "no".

use super::config::FromConfig;
use super::keys::Keys;
use super::{Configured, Family, pooled};
use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::model::arch::source::{Piece, RowMap, Source, ValueMap};
use crate::model::spec::{
    ClassifierActivation, ClassifierSpec, ModelSpec, Pooling, Presence, Role, Slot, TensorId,
};

/// What files call the classes of a model that answers.
const LABELS: [&str; 2] = ["yes", "no"];

/// Architectures whose scores are probabilities, as llama.cpp computes them.
const SOFTMAX: [&str; 2] = ["qwen3", "qwen3vl"];

/// The classifier of a decoder whose file says that it scores texts.
///
/// # Errors
/// [`Error::Malformed`] for keys of another type.
pub(super) fn classifier(keys: &Keys<'_>) -> Result<ClassifierSpec> {
    let labels = keys.strings("classifier.output_labels")?.unwrap_or_default();
    Ok(ClassifierSpec {
        pooling: Pooling::Last,
        n_classes: labels.len().max(1),
        activation: ClassifierActivation::Tanh,
        norm: None,
        is_softmax: SOFTMAX.contains(&keys.arch()) || labels == LABELS,
    })
}

/// Writes the keys of a decoder that scores texts: by `n_answers` words, or by classes if its class has some. What an
/// encoder has written stays.
///
/// # Errors
/// [`Error::Malformed`] for values of other types.
pub(super) fn put(made: &mut FromConfig<'_>, n_answers: usize) -> Result<()> {
    let labels = match n_answers {
        0 if !pooled::has_classifier(made.whole)? || made.contains("classifier.output_labels") => {
            return Ok(());
        }
        0 => match pooled::labels(made.whole)? {
            // One probability is that of yes, the other that of no.
            one if one.len() == 1 && SOFTMAX.contains(&made.arch) => LABELS.map(str::to_owned).into(),
            labels => labels,
        },
        n => LABELS.iter().take(n).map(|&label| label.to_owned()).collect(),
    };
    made.replace("pooling_type", Value::U32(pooled::RANK as u32));
    made.put("classifier.output_labels", Value::Strings(labels));
    Ok(())
}

/// Where the classes of a checkpoint lie. A single one of a model whose scores are probabilities becomes two, of which
/// the other is zero: the softmax of `x` and 0 is the logistic function of `x`, which is what such a class stands for.
///
/// # Errors
/// [`Error::Malformed`] for labels of another type.
pub(super) fn classes(slot: &Slot, config: &Config) -> Result<Option<Source>> {
    let names = vec!["score.weight".to_owned()];
    match slot.shape[..] {
        [2, n_embd] if pooled::labels(config)?.len() == 1 => {
            let row = Piece::whole(&[1, n_embd], names);
            let by_row = [(1, 1.0), (2, 0.0), (2, 0.0), (2, 0.0), (2, 0.0)];
            Ok(Some(Source::Pieces(vec![row.clone(), row], ValueMap::TimesByRow(by_row))))
        }
        _ => Ok(Some(Source::whole(slot, names))),
    }
}

/// Whether a slot is that of the classes of a decoder that scores texts.
pub fn is_of_decoder(model: &ModelSpec, slot: &Slot) -> bool {
    slot.id == TensorId::weight(Role::ClsOutput, None) && is_instead_of_logits(model)
}

/// Whether a model is a decoder that scores texts: a conversion leaves its output matrix out.
pub fn is_instead_of_logits(model: &ModelSpec) -> bool {
    model.pooled.ranks && model.pooled.classifier.is_some_and(|of| of.pooling == Pooling::Last)
}

/// The rows of the output matrix of `configured`'s answers.
///
/// # Errors
/// [`Error::Unsupported`] for a model without an output matrix, or whose logits are not its products alone.
pub fn answers(family: &Family, configured: &Configured, config: &Config) -> Result<Source> {
    let spec = &configured.spec;
    let head = &spec.head;
    if !head.has_logits || head.scale != 1.0 || head.softcap.is_some() {
        let what = format!(
            "a {} model as a reranker: it has no logits, or scales them, and GGUF has no place for that",
            family.gguf_name
        );
        return Err(Error::unsupported(config.path(), what));
    }
    let is_tied = configured.promises.is_tied == Some(true);
    let roles: &[Role] = if is_tied { &[Role::Output, Role::TokenEmbd] } else { &[Role::Output] };
    let shape = vec![spec.n_vocab, spec.n_embd];
    let mut names = Vec::new();
    for &role in roles {
        let matrix =
            Slot { id: TensorId::weight(role, None), shape: shape.clone(), presence: Presence::Required };
        if let Some(Source::Pieces(pieces, _)) = family.source_of(spec, config, &matrix)? {
            names.extend(pieces.into_iter().flat_map(|piece| piece.names));
        }
    }
    let row = |&id: &u32| Piece {
        names: names.clone(),
        shape: shape.clone(),
        n_rows: 1,
        rows: RowMap::Strided { first: id as usize, run: 1, stride: 1, pairs: None },
    };
    Ok(Source::Pieces(configured.answers.iter().map(row).collect(), ValueMap::Same))
}
