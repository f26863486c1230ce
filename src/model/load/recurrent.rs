//! Puts recurrent mixers together.

use super::Loader;
use crate::error::{Error, Result};
use crate::model::layer::mixer::{Conv, DeltaNet, HeadMamba, Kda, Lightning, Mamba1, Mamba2, ShortConv};
use crate::model::spec::layer::{
    ConvSpec, DeltaNetSpec, HeadMambaSpec, KdaSpec, LightningSpec, Mamba1Spec, Mamba2Spec, ShortConvSpec,
};
use crate::model::spec::{Role, TensorId};
use crate::model::weights::Linear;

impl Loader<'_> {
    fn conv(&self, role: Role, layer: Option<usize>, spec: ConvSpec) -> Result<Conv> {
        Ok(Conv::new(spec, &self.vector(role, layer)?, self.bias(role, layer)?))
    }

    pub(super) fn short_conv(&self, layer: Option<usize>, spec: ShortConvSpec) -> Result<ShortConv> {
        Ok(ShortConv {
            input: self.linear(Role::ShortConvInput, layer)?,
            conv: self.conv(Role::ShortConvConv, layer, spec.conv())?,
            output: self.linear(Role::ShortConvOutput, layer)?,
            spec,
        })
    }

    pub(super) fn mamba2(&self, layer: Option<usize>, spec: Mamba2Spec) -> Result<Mamba2> {
        Ok(Mamba2 {
            input: self.linear(Role::SsmIn, layer)?,
            conv: self.conv(Role::SsmConv, layer, spec.conv())?,
            decay: self.values(TensorId::bare(Role::SsmA, layer))?,
            skip: self.values(TensorId::bare(Role::SsmD, layer))?,
            time_step: self.values(TensorId::bias(Role::SsmDt, layer))?,
            norm: spec
                .norm
                .map(|norm| self.norm(Role::SsmNorm, layer, (norm, spec.n_inner())))
                .transpose()?,
            output: self.linear(Role::SsmOut, layer)?,
            spec,
        })
    }

    pub(super) fn mamba1(&self, layer: Option<usize>, spec: Mamba1Spec) -> Result<Mamba1> {
        let norm = |role, n| spec.norm.map(|norm| self.norm(role, layer, (norm, n))).transpose();
        Ok(Mamba1 {
            input: self.linear(Role::SsmIn, layer)?,
            conv: self.conv(Role::SsmConv, layer, spec.conv())?,
            selection: self.linear(Role::SsmX, layer)?,
            step_norm: norm(Role::SsmDtNorm, spec.n_rank)?,
            write_norm: norm(Role::SsmBNorm, spec.n_state)?,
            read_norm: norm(Role::SsmCNorm, spec.n_state)?,
            steps: self.linear(Role::SsmDt, layer)?,
            rates: Mamba1::rates(&spec, &self.values(TensorId::bare(Role::SsmA, layer))?),
            skip: self.values(TensorId::bare(Role::SsmD, layer))?,
            output: self.linear(Role::SsmOut, layer)?,
            spec,
        })
    }

    pub(super) fn head_mamba(&self, layer: Option<usize>, spec: HeadMambaSpec) -> Result<HeadMamba> {
        let norm = |role, n| self.norm(role, layer, (spec.norm, n));
        Ok(HeadMamba {
            input: self.linear(Role::SsmIn, layer)?,
            conv: self.conv(Role::SsmConv, layer, spec.conv())?,
            selection: self.linear(Role::SsmX, layer)?,
            write_norm: norm(Role::SsmBNorm, spec.n_state)?,
            read_norm: norm(Role::SsmCNorm, spec.n_state)?,
            step_norm: norm(Role::SsmDtNorm, spec.n_rank)?,
            // Its bias is added apart, before the activation.
            steps: Linear { bias: None, ..self.linear(Role::SsmDt, layer)? },
            time_step: self.values(TensorId::bias(Role::SsmDt, layer))?,
            decay: self.values(TensorId::bare(Role::SsmA, layer))?,
            skip: self.values(TensorId::bare(Role::SsmD, layer))?,
            output: self.linear(Role::SsmOut, layer)?,
            spec,
        })
    }

    pub(super) fn kda(&self, layer: Option<usize>, spec: KdaSpec) -> Result<Kda> {
        let linear = |role| self.linear(role, layer);
        let conv = |role| self.conv(role, layer, spec.conv());
        // Without narrow vectors the first name is that of the only matrix.
        let made_of = |first, second| {
            Ok::<_, Error>(match spec.is_narrow {
                true => (Some(linear(first)?), linear(second)?),
                false => (None, linear(first)?),
            })
        };
        let mut rates = self.values(TensorId::bare(Role::SsmA, layer))?;
        if spec.bound.is_some() {
            // Files of some architectures have them with the sign that they have without a bound.
            rates.iter_mut().for_each(|rate| *rate = rate.abs());
        }
        Ok(Kda {
            inputs: [linear(Role::AttnQ)?, linear(Role::AttnK)?, linear(Role::AttnV)?],
            convs: [conv(Role::SsmConvQ)?, conv(Role::SsmConvK)?, conv(Role::SsmConvV)?],
            decay: made_of(Role::SsmFA, Role::SsmFB)?,
            gate: made_of(Role::SsmGA, Role::SsmGB)?,
            strength: linear(Role::SsmBeta)?,
            rates,
            time_step: self.values(TensorId::bias(Role::SsmDt, layer))?,
            norm: self.norm(Role::SsmNorm, layer, (spec.norm, spec.head_dim))?,
            output: linear(Role::AttnOutput)?,
            spec,
        })
    }

    pub(super) fn lightning(&self, layer: Option<usize>, spec: LightningSpec) -> Result<Lightning> {
        Ok(Lightning {
            qkv: self.linear(Role::AttnQkv, layer)?,
            gate: self.linear(Role::AttnGate, layer)?,
            decays: spec.decays().chain(vec![1.0; spec.n_head]).collect(),
            norm: self.norm(Role::AttnNorm2, layer, (spec.norm, spec.n_inner()))?,
            output: self.linear(Role::AttnOutput, layer)?,
            spec,
        })
    }

    pub(super) fn delta_net(&self, layer: Option<usize>, spec: DeltaNetSpec) -> Result<DeltaNet> {
        if !self.has(Role::AttnQkv, layer) {
            return Err(self.malformed(format!(
                "tensor {} is missing: files of Qwen3-Next from before 2026 lack it; convert the model again",
                TensorId::weight(Role::AttnQkv, layer)
            )));
        }
        let linear = |role| self.linear(role, layer);
        let gates: &[Role] =
            if spec.has_joint_gates { &[Role::SsmBetaAlpha] } else { &[Role::SsmBeta, Role::SsmAlpha] };
        Ok(DeltaNet {
            qkv: linear(Role::AttnQkv)?,
            z: linear(Role::AttnGate)?,
            gates: gates.iter().map(|&role| linear(role)).collect::<Result<_>>()?,
            conv: self.conv(Role::SsmConv, layer, spec.conv())?,
            decay: self.values(TensorId::bare(Role::SsmA, layer))?,
            time_step: self.values(TensorId::bias(Role::SsmDt, layer))?,
            norm: self.norm(Role::SsmNorm, layer, (spec.norm, spec.head_dim_v))?,
            output: linear(Role::SsmOut)?,
            spec,
        })
    }
}
