//! Puts RWKV's layers together.

use super::Loader;
use crate::error::{Error, Result};
use crate::model::layer::mixer::{ChannelMix, Narrow, Receptance, Rwkv6, Rwkv7};
use crate::model::spec::layer::{ChannelMixSpec, Rwkv6Spec, Rwkv7Spec};
use crate::model::spec::{RATES, Role};
use crate::model::weights::Stack;

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
        let channel = spec.channel.map(|of| self.channel_mix(layer, of, spec.n_embd));
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

    pub(super) fn rwkv6(&self, layer: Option<usize>, spec: Rwkv6Spec) -> Result<Rwkv6> {
        let linear = |role| self.linear(role, layer);
        let lerps = match self.has(Role::TimeMixLerp, layer) {
            true => self.vector(Role::TimeMixLerp, layer)?,
            false => {
                let apart = RATES.map(|role| self.vector(role, layer)).into_iter();
                apart.collect::<Result<Vec<_>>>()?.concat()
            }
        };
        let (down, rank) = (linear(Role::TimeMixW1)?, spec.mix_rank);
        let bonus = spec.head_norm.map(|of| {
            let norm = self.norm(Role::TimeMixLn, layer, (of, spec.n_embd))?;
            Ok::<_, Error>((self.vector(Role::TimeMixFirst, layer)?, norm))
        });
        let channel = spec.channel.map(|of| self.channel_mix(layer, of, spec.n_embd));
        Ok(Rwkv6 {
            lerp: self.vector(Role::TimeMixLerpX, layer)?,
            lerps,
            downs: (0..RATES.len()).map(|j| down.slice(j * rank..(j + 1) * rank)).collect(),
            ups: Stack::plain(self.matrix(Role::TimeMixW2, layer)?, spec.n_embd),
            decay: self.narrow(layer, [Role::TimeMixDecay, Role::TimeMixDecayW1, Role::TimeMixDecayW2])?,
            key: linear(Role::TimeMixKey)?,
            value: linear(Role::TimeMixValue)?,
            receptance: linear(Role::TimeMixReceptance)?,
            gate: linear(Role::TimeMixGate)?,
            bonus: bonus.transpose()?,
            output: linear(Role::TimeMixOutput)?,
            channel: channel.transpose()?,
            spec,
        })
    }

    fn channel_mix(&self, layer: Option<usize>, spec: ChannelMixSpec, n_embd: usize) -> Result<ChannelMix> {
        let receptance = spec.has_receptance.then(|| {
            Ok::<_, Error>(Receptance {
                lerp: self.vector(Role::ChannelMixLerpR, layer)?,
                linear: self.linear(Role::ChannelMixReceptance, layer)?,
            })
        });
        Ok(ChannelMix {
            norm: self.norm(Role::AttnNorm2, layer, (spec.norm, n_embd))?,
            lerp: self.vector(Role::ChannelMixLerpK, layer)?,
            key: self.linear(Role::ChannelMixKey, layer)?,
            value: self.linear(Role::ChannelMixValue, layer)?,
            receptance: receptance.transpose()?,
        })
    }
}
