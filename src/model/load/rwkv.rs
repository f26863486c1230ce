//! Puts RWKV's layers together.

use super::Loader;
use crate::error::{Error, Result};
use crate::model::layer::mixer::{ChannelMix, Narrow, Rwkv7};
use crate::model::spec::Role;
use crate::model::spec::layer::Rwkv7Spec;

impl Loader<'_> {
    fn narrow(&self, layer: Option<usize>, [bias, down, up]: [Role; 3]) -> Result<Narrow> {
        Ok(Narrow {
            bias: self.vector(bias, layer)?,
            down: self.linear(down, layer)?,
            up: self.linear(up, layer)?,
        })
    }

    pub(super) fn rwkv7(&self, layer: Option<usize>, spec: Rwkv7Spec) -> Result<Rwkv7> {
        let linear = |role| self.linear(role, layer);
        let norm = |role, of| self.norm(role, layer, (of, spec.n_embd));
        let value = [Role::TimeMixV0, Role::TimeMixV1, Role::TimeMixV2];
        let gate = (spec.ranks.gate > 0)
            .then(|| Ok::<_, Error>([linear(Role::TimeMixG1)?, linear(Role::TimeMixG2)?]));
        let channel = spec.channel.map(|of| {
            Ok::<_, Error>(ChannelMix {
                norm: norm(Role::AttnNorm2, of.norm)?,
                lerp: self.vector(Role::ChannelMixLerpK, layer)?,
                key: linear(Role::ChannelMixKey)?,
                value: linear(Role::ChannelMixValue)?,
            })
        });
        Ok(Rwkv7 {
            lerp: self.vector(Role::TimeMixLerp, layer)?,
            receptance: linear(Role::TimeMixReceptance)?,
            key: linear(Role::TimeMixKey)?,
            value: linear(Role::TimeMixValue)?,
            decay: self.narrow(layer, [Role::TimeMixW0, Role::TimeMixW1, Role::TimeMixW2])?,
            rate: self.narrow(layer, [Role::TimeMixA0, Role::TimeMixA1, Role::TimeMixA2])?,
            share: (!spec.is_first).then(|| self.narrow(layer, value)).transpose()?,
            gate: gate.transpose()?,
            key_scale: self.vector(Role::TimeMixKK, layer)?,
            key_rate: self.vector(Role::TimeMixKA, layer)?,
            bonus: self.vector(Role::TimeMixRK, layer)?,
            head_norm: spec.head_norm.map(|of| norm(Role::TimeMixLn, of)).transpose()?,
            output: linear(Role::TimeMixOutput)?,
            channel: channel.transpose()?,
            spec,
        })
    }
}
