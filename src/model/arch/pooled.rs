//! What becomes of pooled streams, by the keys that all architectures have alike.

use super::config::FromConfig;
use super::keys::Keys;
use crate::checkpoint::{Config, Modules, PoolingMode};
use crate::error::Result;
use crate::gguf::Value;
use crate::model::spec::{ClassifierActivation, ClassifierSpec, PooledSpec, Pooling};

/// The number that files have for scores of pairs instead of a pooling.
pub(super) const RANK: usize = 4;

/// What files say of every architecture.
///
/// # Errors
/// [`crate::Error::Malformed`] for keys of another type, [`crate::Error::Unsupported`] for a pooling that is not known.
pub(super) fn read(keys: &Keys<'_>) -> Result<PooledSpec> {
    let code = keys.count("pooling_type")?.filter(|&code| code != u32::MAX as usize);
    let pooling = match code {
        None | Some(RANK) => None,
        Some(code) => {
            let unknown = || keys.unsupported(format!("pooling_type {code}"));
            Some(Pooling::from_code(code).ok_or_else(unknown)?)
        }
    };
    let mut dense = Vec::new();
    for key in ["dense_2_feat_out", "dense_3_feat_out"] {
        dense.extend(keys.count(key)?.filter(|&n| n > 0));
    }
    Ok(PooledSpec { pooling, ranks: code == Some(RANK), dense, classifier: None })
}

/// A classifier with as many classes as the keys have labels: BERT's, of the first position, where `pooling` does not
/// say otherwise.
///
/// # Errors
/// [`crate::Error::Malformed`] for keys of another type.
pub(super) fn classifier(keys: &Keys<'_>) -> Result<ClassifierSpec> {
    Ok(ClassifierSpec {
        pooling: Pooling::Cls,
        n_classes: keys.len("classifier.output_labels")?.unwrap_or(1),
        activation: ClassifierActivation::Tanh,
        norm: None,
        is_softmax: false,
    })
}

/// Whether a class of transformers scores texts by classes, in place of its output matrix.
pub fn is_classifier(class: &str) -> bool {
    class.ends_with("ForSequenceClassification")
}

/// Whether config.json names such a class.
///
/// # Errors
/// [`crate::Error::Malformed`] for another type.
pub(super) fn has_classifier(config: &Config) -> Result<bool> {
    let classes = config.strings("architectures")?.unwrap_or_default();
    Ok(classes.iter().any(|class| is_classifier(class)))
}

/// The labels of classes that a configuration names, by their numbers; configurations that name none have two.
///
/// # Errors
/// [`crate::Error::Malformed`] for values of other types.
pub(super) fn labels(config: &Config) -> Result<Vec<String>> {
    let labels = config.object("id2label")?;
    let mut numbered: Vec<(usize, String)> = Vec::new();
    for key in labels.iter().flat_map(Config::keys) {
        let label = labels.as_ref().map_or(Ok(None), |labels| labels.string(key))?;
        numbered.extend(key.parse().ok().zip(label.map(str::to_owned)));
    }
    numbered.sort();
    if numbered.is_empty() {
        let n = config.count("num_labels")?.unwrap_or(2);
        numbered = (0..n).map(|i| (i, format!("LABEL_{i}"))).collect();
    }
    Ok(numbered.into_iter().map(|(_, label)| label).collect())
}

/// Writes the keys of the modules behind a model.
///
/// # Errors
/// [`crate::Error::Malformed`] for widths that no model has.
pub(super) fn put(made: &mut FromConfig<'_>, modules: &Modules) -> Result<()> {
    let pooling = modules.pooling.map(|mode| match mode {
        PoolingMode::Mean => Pooling::Mean,
        PoolingMode::Cls => Pooling::Cls,
        PoolingMode::Last => Pooling::Last,
    });
    if let Some(pooling) = pooling {
        made.replace("pooling_type", Value::U32(pooling.code()));
    }
    for (i, dense) in modules.dense.iter().enumerate() {
        made.replace_count(&format!("dense_{}_feat_in", i + 2), dense.n_in)?;
        made.replace_count(&format!("dense_{}_feat_out", i + 2), dense.n_out)?;
    }
    for (key, value) in modules.texts.pairs() {
        made.put_bare(key, value);
    }
    Ok(())
}
