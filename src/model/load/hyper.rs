//! Puts together what several streams of a token take that parts mix.

use super::Loader;
use crate::error::{Error, Result};
use crate::model::layer::hyper::{Gated, Kind, Weighted};
use crate::model::layer::{Hyper, HyperLayer, Ngram, Norm};
use crate::model::spec::layer::{HyperEndSpec, HyperKind, HyperRoles, HyperSpec, NgramSpec};
use crate::model::spec::{Role, TensorId};

impl Loader<'_> {
    pub(super) fn hyper_end(&self, spec: &HyperEndSpec) -> Result<Hyper> {
        if spec.is_mean {
            return Ok(Hyper { spec: spec.hyper, kind: Kind::Mean });
        }
        self.hyper(None, &spec.hyper, (HyperRoles::END, false))
    }

    pub(super) fn hyper_layer(&self, layer: Option<usize>, spec: &HyperSpec) -> Result<HyperLayer> {
        let of = |roles| self.hyper(layer, spec, (roles, true));
        Ok(HyperLayer { mixer: of(HyperRoles::MIXER)?, ffn: of(HyperRoles::FFN)? })
    }

    fn hyper(
        &self,
        layer: Option<usize>,
        spec: &HyperSpec,
        (roles, gives): (HyperRoles, bool),
    ) -> Result<Hyper> {
        let width = spec.width();
        let kind = match spec.kind {
            HyperKind::Gated { norm, .. } => Kind::Gated(Gated {
                norm: self.norm(roles.norm, layer, (norm, width))?,
                down: self.linear(roles.down, layer)?,
                up: self.linear(roles.up, layer)?,
                inject: gives.then(|| self.linear(roles.inject, layer)).transpose()?,
            }),
            HyperKind::Weighted { norm, .. } => Kind::Weighted(Weighted {
                norm: Norm { spec: norm, weight: vec![1.0; width], bias: None },
                map: self.linear(roles.map, layer)?,
                scale: self.values(TensorId::weight(roles.scale, layer))?,
                base: self.values(TensorId::weight(roles.base, layer))?,
            }),
        };
        Ok(Hyper { spec: *spec, kind })
    }

    pub(super) fn ngram(&self, layer: Option<usize>, spec: &NgramSpec) -> Result<Ngram> {
        let (width, n_taps) = (spec.width(), spec.n_taps);
        let norm = |role| self.norm(role, layer, (spec.norm, width));
        let taps = self.vector(Role::PleConv, layer)?;
        let tap = |i: usize| taps[i % width * n_taps + i / width];
        Ok::<_, Error>(Ngram {
            table: self.matrix(Role::PerLayerTokenEmbd, None)?,
            key: self.linear(Role::PleKey, layer)?,
            value: self.linear(Role::PleValue, layer)?,
            key_norm: norm(Role::PleNormKey)?,
            stream_norm: norm(Role::PleNormQuery)?,
            conv_norm: norm(Role::PleNormConv)?,
            taps: (0..n_taps * width).map(tap).collect(),
            spec: spec.clone(),
        })
    }
}
