//! The tensors of several streams of a token.

use super::{Presence, Slots};
use crate::model::spec::layer::{AltUpSpec, HyperKind, HyperRoles, HyperSpec, LayerSpec, NgramSpec};
use crate::model::spec::{ModelSpec, Role, TensorId};

impl Slots<'_> {
    /// Those of a layer whose parts mix streams.
    pub(super) fn mixed_streams(&mut self, layer: &LayerSpec) {
        if let Some(ngram) = &layer.ngram {
            self.ngram(ngram);
        }
        if let Some(hyper) = &layer.hyper {
            self.hyper(hyper, HyperRoles::MIXER, true);
            self.hyper(hyper, HyperRoles::FFN, true);
        }
    }

    /// Those of a layer that computes with one of several streams.
    pub(super) fn altup(&mut self, spec: AltUpSpec, n_embd: usize) {
        let AltUpSpec { n_stream, laurel_rank, norm, .. } = spec;
        self.weight(Role::AltUpCorrectCoef, &[n_stream, n_stream]);
        self.weight(Role::AltUpCorrectScale, &[n_embd]);
        self.weight(Role::AltUpPredictCoef, &[n_stream * n_stream, n_stream]);
        self.weight(Role::AltUpRouter, &[n_stream, n_embd]);
        self.norm(Role::AltUpRouterNorm, norm, n_embd);
        self.weight(Role::LaurelLeft, &[laurel_rank, n_embd]);
        self.weight(Role::LaurelRight, &[n_embd, laurel_rank]);
        self.norm(Role::LaurelPostNorm, norm, n_embd);
    }

    /// Those of a place where streams become one; `gives` says whether outputs are given back to streams there.
    pub(super) fn hyper(&mut self, spec: &HyperSpec, roles: HyperRoles, gives: bool) {
        let width = spec.width();
        match spec.kind {
            HyperKind::Gated { rank, norm } => {
                self.norm(roles.norm, norm, width);
                self.weight(roles.down, &[rank, width]);
                self.weight(roles.up, &[width, rank]);
                if gives {
                    self.weight(roles.inject, &[spec.n_stream, width]);
                }
            }
            HyperKind::Weighted { .. } => {
                let (n_kinds, n) = spec.n_weights(gives);
                self.weight(roles.map, &[n, width]);
                self.weight(roles.base, &[n]);
                self.weight(roles.scale, &[n_kinds]);
            }
        }
    }

    /// Those of what a table of n-grams adds to streams.
    pub(super) fn ngram(&mut self, spec: &NgramSpec) {
        let width = spec.width();
        self.weight(Role::PleKey, &[width, spec.n_embedded()]);
        self.weight(Role::PleValue, &[spec.n_embd, spec.n_embedded()]);
        for role in [Role::PleNormKey, Role::PleNormQuery, Role::PleNormConv] {
            self.norm(role, spec.norm, width);
        }
        self.weight(Role::PleConv, &[width, spec.n_taps]);
    }

    /// The table of n-grams, if a layer has some, and where streams end.
    pub(super) fn streams(&mut self, model: &ModelSpec) {
        if let Some(ngram) = model.layers.iter().find_map(|layer| layer.ngram.as_ref()) {
            let id = TensorId::weight(Role::PerLayerTokenEmbd, None);
            self.push(id, &[ngram.n_rows(), ngram.row_len], Presence::Required);
        }
        if let Some(end) = model.embed.hyper.filter(|end| !end.is_mean) {
            self.hyper(&end.hyper, HyperRoles::END, false);
        }
    }
}
