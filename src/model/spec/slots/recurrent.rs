//! The tensors of recurrent mixers.

use super::{Presence, Slots};
use crate::model::spec::layer::{
    ConvSpec, DeltaNetSpec, HeadMambaSpec, KdaSpec, LightningSpec, Mamba1Spec, Mamba2Spec, ShortConvSpec,
};
use crate::model::spec::{Role, TensorId};

impl Slots<'_> {
    fn conv(&mut self, role: Role, spec: ConvSpec) {
        self.weight(role, &[spec.n_channels, spec.n_taps]);
        if spec.has_bias {
            self.push(TensorId::bias(role, self.layer), &[spec.n_channels], Presence::Optional);
        }
    }

    /// Numbers whose name has no suffix.
    fn bare(&mut self, role: Role, shape: &[usize]) {
        self.push(TensorId::bare(role, self.layer), shape, Presence::Required);
    }

    pub(super) fn short_conv(&mut self, spec: &ShortConvSpec) {
        let n_embd = spec.n_embd;
        self.weight(Role::ShortConvInput, &[3 * n_embd, n_embd]);
        self.conv(Role::ShortConvConv, spec.conv());
        self.weight(Role::ShortConvOutput, &[n_embd, n_embd]);
    }

    pub(super) fn mamba2(&mut self, spec: &Mamba2Spec) {
        let (n_embd, n_head, n_inner) = (spec.n_embd, spec.n_head, spec.n_inner());
        self.weight(Role::SsmIn, &[spec.n_rows(), n_embd]);
        self.conv(Role::SsmConv, spec.conv());
        self.push(TensorId::bias(Role::SsmDt, self.layer), &[n_head], Presence::Required);
        self.bare(Role::SsmA, &[n_head, 1]);
        self.bare(Role::SsmD, &[n_head, 1]);
        if spec.norm.is_some() {
            self.weight(Role::SsmNorm, &[spec.n_group, n_inner / spec.n_group]);
        }
        self.weight(Role::SsmOut, &[n_embd, n_inner]);
    }

    pub(super) fn mamba1(&mut self, spec: &Mamba1Spec) {
        let Mamba1Spec { n_embd, n_inner, n_state, n_rank, .. } = *spec;
        self.weight(Role::SsmIn, &[2 * n_inner, n_embd]);
        self.conv(Role::SsmConv, spec.conv());
        self.weight(Role::SsmX, &[spec.n_rows(), n_inner]);
        self.weight(Role::SsmDt, &[n_inner, n_rank]);
        self.push(TensorId::bias(Role::SsmDt, self.layer), &[n_inner], Presence::Required);
        if let Some(norm) = spec.norm {
            self.norm(Role::SsmDtNorm, norm, n_rank);
            self.norm(Role::SsmBNorm, norm, n_state);
            self.norm(Role::SsmCNorm, norm, n_state);
        }
        self.bare(Role::SsmA, &[n_inner, n_state]);
        self.bare(Role::SsmD, &[n_inner]);
        self.weight(Role::SsmOut, &[n_embd, n_inner]);
    }

    pub(super) fn head_mamba(&mut self, spec: &HeadMambaSpec) {
        let HeadMambaSpec { n_embd, n_head, n_state, n_rank, norm, .. } = *spec;
        let n_inner = spec.n_inner();
        self.weight(Role::SsmIn, &[2 * n_inner, n_embd]);
        self.conv(Role::SsmConv, spec.conv());
        self.weight(Role::SsmX, &[spec.n_rows(), n_inner]);
        self.weight(Role::SsmDt, &[n_head, n_rank]);
        self.push(TensorId::bias(Role::SsmDt, self.layer), &[n_head], Presence::Required);
        self.norm(Role::SsmDtNorm, norm, n_rank);
        self.norm(Role::SsmBNorm, norm, n_state);
        self.norm(Role::SsmCNorm, norm, n_state);
        self.bare(Role::SsmA, &[n_head]);
        self.bare(Role::SsmD, &[n_head]);
        self.weight(Role::SsmOut, &[n_embd, n_inner]);
    }

    pub(super) fn kda(&mut self, spec: &KdaSpec) {
        let KdaSpec { n_embd, n_head, head_dim, n_taps, .. } = *spec;
        let n = spec.n_inner();
        for (role, conv) in
            [(Role::AttnQ, Role::SsmConvQ), (Role::AttnK, Role::SsmConvK), (Role::AttnV, Role::SsmConvV)]
        {
            self.weight(role, &[n, n_embd]);
            self.weight(conv, &[1, n, 1, n_taps]);
        }
        for (down, up) in [(Role::SsmFA, Role::SsmFB), (Role::SsmGA, Role::SsmGB)] {
            if spec.is_narrow {
                self.weight(down, &[head_dim, n_embd]);
                self.weight(up, &[n, head_dim]);
            } else {
                self.weight(down, &[n, n_embd]);
            }
        }
        self.weight(Role::SsmBeta, &[n_head, n_embd]);
        self.push(TensorId::bias(Role::SsmDt, self.layer), &[n], Presence::Required);
        if spec.has_row_of_rates {
            self.bare(Role::SsmA, &[n_head]);
        } else {
            self.bare(Role::SsmA, &[1, 1, n_head, 1]);
        }
        self.norm(Role::SsmNorm, spec.norm, head_dim);
        self.weight(Role::AttnOutput, &[n_embd, n]);
    }

    pub(super) fn lightning(&mut self, spec: &LightningSpec) {
        let (n_embd, n) = (spec.n_embd, spec.n_inner());
        self.norm(Role::AttnNorm2, spec.norm, n);
        self.weight(Role::AttnQkv, &[3 * n, n_embd]);
        self.weight(Role::AttnGate, &[n, n_embd]);
        self.weight(Role::AttnOutput, &[n_embd, n]);
    }

    pub(super) fn delta_net(&mut self, spec: &DeltaNetSpec) {
        let (n_embd, n_head) = (spec.n_embd, spec.n_head_v);
        self.weight(Role::AttnQkv, &[2 * spec.n_keys() + spec.n_values(), n_embd]);
        self.weight(Role::AttnGate, &[spec.n_values(), n_embd]);
        self.conv(Role::SsmConv, spec.conv());
        self.push(TensorId::bias(Role::SsmDt, self.layer), &[n_head], Presence::Required);
        self.bare(Role::SsmA, &[n_head]);
        if spec.has_joint_gates {
            self.weight(Role::SsmBetaAlpha, &[2 * n_head, n_embd]);
        } else {
            self.weight(Role::SsmBeta, &[n_head, n_embd]);
            self.weight(Role::SsmAlpha, &[n_head, n_embd]);
        }
        self.norm(Role::SsmNorm, spec.norm, spec.head_dim_v);
        self.weight(Role::SsmOut, &[n_embd, spec.n_values()]);
    }
}
