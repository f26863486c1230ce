//! Loads what pooled streams go through.

use super::Loader;
use crate::error::Result;
use crate::model::layer::pooled::{Classifier, Pooled};
use crate::model::spec::{ModelSpec, Role};

impl Loader<'_> {
    /// What the pooled streams of a model go through.
    pub(super) fn pooled(&self, spec: &ModelSpec) -> Result<Pooled> {
        let linear = |role| self.has(role, None).then(|| self.linear(role, None)).transpose();
        let dense = [Role::Dense2, Role::Dense3].into_iter().take(spec.pooled.dense.len());
        let width = spec.pooled.dense.last().copied().unwrap_or(spec.n_embd);
        let classifier = spec.pooled.classifier.map(|of| {
            let norm = of.norm.filter(|_| self.has(Role::ClsNorm, None));
            Ok::<_, crate::Error>(Classifier {
                spec: of,
                inner: linear(Role::Cls)?,
                norm: norm.map(|norm| self.norm(Role::ClsNorm, None, (norm, width))).transpose()?,
                output: linear(Role::ClsOutput)?,
            })
        });
        Ok(Pooled {
            dense: dense.map(|role| self.linear(role, None)).collect::<Result<_>>()?,
            classifier: classifier.transpose()?.filter(Classifier::is_there),
        })
    }
}
