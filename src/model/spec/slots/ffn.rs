//! The tensors of feed-forward parts.

use super::Promise;
use super::{Presence, Slots};
use crate::model::spec::layer::{AdjugateSpec, ExpertsSpec, FfnShape, FfnSpec};
use crate::model::spec::{Role, Suffix, TensorId};

impl Slots<'_> {
    /// The part of a stream of `n_embd` elements.
    pub(super) fn ffn(&mut self, spec: &FfnSpec, n_embd: usize) {
        match spec {
            FfnSpec::Dense(shape) => self.dense(*shape),
            FfnSpec::Gated(shape) => self.gated(*shape),
            FfnSpec::Experts(spec) => self.experts(spec, n_embd),
            FfnSpec::GatedAndExperts(shape, spec, norm) => {
                self.gated(*shape);
                self.norm(Role::FfnPostNorm1, *norm, n_embd);
                self.norm(Role::FfnPreNorm2, *norm, n_embd);
                self.experts(spec, n_embd);
                let id = |role| TensorId { suffix: Suffix::Scale, ..TensorId::weight(role, self.layer) };
                let (router, down) = (id(Role::FfnGateInp), id(Role::FfnDownExps));
                self.push(router, &[n_embd], Presence::Required);
                self.push(down, &[spec.n_expert], Presence::Optional);
                self.norm(Role::FfnPostNorm2, *norm, n_embd);
            }
            FfnSpec::None => {}
        }
    }

    fn dense(&mut self, FfnShape { n_embd, n_ff, has_bias, .. }: FfnShape) {
        for (role, n_out, n_in) in [(Role::FfnUp, n_ff, n_embd), (Role::FfnDown, n_embd, n_ff)] {
            self.weight(role, &[n_out, n_in]);
            if has_bias {
                self.bias(role, n_out, self.promises.mlp_bias);
            }
        }
    }

    fn gated(&mut self, FfnShape { n_embd, n_ff, has_bias, is_fused, hidden_norm, .. }: FfnShape) {
        let n_up = if is_fused { 2 * n_ff } else { n_ff };
        let parts =
            [(Role::FfnGate, n_ff, n_embd), (Role::FfnUp, n_up, n_embd), (Role::FfnDown, n_embd, n_ff)];
        for (role, n_out, n_in) in parts.into_iter().skip(usize::from(is_fused)) {
            self.weight(role, &[n_out, n_in]);
            if has_bias {
                self.bias(role, n_out, self.promises.mlp_bias);
            }
        }
        if let Some(norm) = hidden_norm {
            self.norm(Role::FfnSubNorm, norm, n_ff);
        }
    }

    /// Experts in a stream of `n_stream` elements.
    fn experts(&mut self, spec: &ExpertsSpec, n_stream: usize) {
        let FfnShape { n_embd, n_ff, has_bias, .. } = spec.expert;
        let n_expert = spec.n_expert;
        if let Some(norm) = spec.early_norm {
            self.norm(Role::FfnNormExps, norm, n_stream);
        }
        self.weight(Role::FfnGateInp, &[n_expert, n_stream]);
        if spec.router.has_bias {
            self.bias(Role::FfnGateInp, n_expert, Promise::Open);
        }
        if spec.router.has_choice_bias {
            self.push(spec.router.choice_bias(self.layer), &[n_expert], Presence::Optional);
        }
        if spec.is_latent {
            self.weight(Role::FfnLatentDown, &[n_embd, n_stream]);
            self.weight(Role::FfnLatentUp, &[n_stream, n_embd]);
        }
        if spec.is_dense {
            self.weight(Role::FfnUpExps, &[n_expert, n_ff, n_embd]);
        } else {
            self.alternative(Role::FfnGateExps, &[n_expert, n_ff, n_embd]);
            self.alternative(Role::FfnUpExps, &[n_expert, n_ff, n_embd]);
            self.alternative(Role::FfnGateUpExps, &[n_expert, 2 * n_ff, n_embd]);
        }
        self.weight(Role::FfnDownExps, &[n_expert, n_embd, n_ff]);
        if has_bias {
            for (role, n) in [(Role::FfnGateExps, n_ff), (Role::FfnUpExps, n_ff), (Role::FfnDownExps, n_embd)]
            {
                self.push(TensorId::bias(role, self.layer), &[n_expert, n], Presence::Optional);
            }
        }
        if let Some(AdjugateSpec { n_ff, group, .. }) = spec.adjugate {
            let n = n_expert / group;
            self.weight(Role::FfnGateChexps, &[n, n_ff, n_embd]);
            self.weight(Role::FfnUpChexps, &[n, n_ff, n_embd]);
            self.weight(Role::FfnDownChexps, &[n, n_embd, n_ff]);
        }
        let Some(shared) = spec.shared else { return };
        if shared.is_named_plainly {
            return self.gated(shared.shape);
        }
        let FfnShape { n_embd, n_ff, is_fused, .. } = shared.shape;
        if shared.is_gated {
            self.weight(Role::FfnGateInpShexp, &[n_embd]);
        }
        if !spec.is_dense && !is_fused {
            self.weight(Role::FfnGateShexp, &[n_ff, n_embd]);
        }
        self.weight(Role::FfnUpShexp, &[if is_fused { 2 * n_ff } else { n_ff }, n_embd]);
        self.weight(Role::FfnDownShexp, &[n_embd, n_ff]);
    }
}
