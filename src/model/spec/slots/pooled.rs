//! The tensors behind pooled streams.

use super::{Presence, Slots};
use crate::model::spec::{ModelSpec, Role, TensorId};

impl Slots<'_> {
    pub(super) fn pooled(&mut self, model: &ModelSpec) {
        let mut width = model.n_embd;
        for (role, &n) in [Role::Dense2, Role::Dense3].into_iter().zip(&model.pooled.dense) {
            self.weight(role, &[n, width]);
            self.push(TensorId::bias(role, None), &[n], Presence::Optional);
            width = n;
        }
        let Some(classifier) = &model.pooled.classifier else { return };
        let mut optional = |role, shape: &[usize]| {
            self.push(TensorId::weight(role, None), shape, Presence::Optional);
            self.push(TensorId::bias(role, None), &shape[..1], Presence::Optional);
        };
        optional(Role::Cls, &[width, width]);
        optional(Role::ClsOutput, &[classifier.n_classes, width]);
        if classifier.norm.is_some() {
            optional(Role::ClsNorm, &[width]);
        }
    }
}
