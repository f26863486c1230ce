//! Puts together what several streams of a token take.

use super::Loader;
use crate::error::Result;
use crate::model::layer::{AltUp, AltUpEnds, Laurel};
use crate::model::spec::layer::AltUpSpec;
use crate::model::spec::{Role, TensorId};

impl Loader<'_> {
    pub(super) fn altup_ends(&self, spec: AltUpSpec, n_embd: usize) -> Result<AltUpEnds> {
        let all = self.linear(Role::AltUpUnembdProj, None)?;
        let unembed = (0..spec.n_stream - 1).map(|k| all.slice(k * n_embd..(k + 1) * n_embd));
        Ok(AltUpEnds { project: self.linear(Role::AltUpProj, None)?, unembed: unembed.collect() })
    }

    pub(super) fn altup(&self, layer: Option<usize>, spec: AltUpSpec, n_embd: usize) -> Result<AltUp> {
        let values = |role| self.values(TensorId::weight(role, layer));
        Ok(AltUp {
            active: spec.active,
            norm: self.norm(Role::AltUpRouterNorm, layer, (spec.norm, n_embd))?,
            router: values(Role::AltUpRouter)?,
            predict: values(Role::AltUpPredictCoef)?,
            correct: values(Role::AltUpCorrectCoef)?,
            scale: values(Role::AltUpCorrectScale)?,
            laurel: Laurel {
                left: self.linear(Role::LaurelLeft, layer)?,
                right: self.linear(Role::LaurelRight, layer)?,
                norm: self.norm(Role::LaurelPostNorm, layer, (spec.norm, n_embd))?,
            },
        })
    }
}
