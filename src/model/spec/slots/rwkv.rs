//! The tensors of RWKV's layers.

use super::{Presence, Slots};
use crate::model::spec::layer::{ChannelMixSpec, Rwkv6Spec, Rwkv7Spec};
use crate::model::spec::{Role, TensorId};

impl Slots<'_> {
    pub(super) fn rwkv7(&mut self, spec: &Rwkv7Spec) {
        let (n, ranks) = (spec.n_embd, spec.ranks);
        self.weight(Role::TimeMixLerp, &[spec.n_mix(), 1, 1, n]);
        let decay = [Role::TimeMixW0, Role::TimeMixW1, Role::TimeMixW2];
        let rate = [Role::TimeMixA0, Role::TimeMixA1, Role::TimeMixA2];
        let value = [Role::TimeMixV0, Role::TimeMixV1, Role::TimeMixV2];
        // Those of the first layer are not computed with: other programs ask for them.
        let (of_values, presence) = match spec.is_first {
            true => (ranks.rate, Presence::Optional),
            false => (ranks.value, Presence::Required),
        };
        let narrow = [
            (decay, ranks.decay, Presence::Required),
            (rate, ranks.rate, Presence::Required),
            (value, of_values, presence),
        ];
        for ([bias, down, up], rank, presence) in narrow {
            self.push(TensorId::weight(bias, self.layer), &[n], presence);
            self.push(TensorId::weight(down, self.layer), &[rank, n], presence);
            self.push(TensorId::weight(up, self.layer), &[n, rank], presence);
        }
        if ranks.gate > 0 {
            self.weight(Role::TimeMixG1, &[ranks.gate, n]);
            self.weight(Role::TimeMixG2, &[n, ranks.gate]);
        }
        for role in [Role::TimeMixKK, Role::TimeMixKA, Role::TimeMixRK] {
            self.weight(role, &[n]);
        }
        for role in [Role::TimeMixReceptance, Role::TimeMixKey, Role::TimeMixValue, Role::TimeMixOutput] {
            self.weight(role, &[n, n]);
        }
        if let Some(norm) = spec.head_norm {
            self.norm(Role::TimeMixLn, norm, n);
        }
        if let Some(channel) = spec.channel {
            self.channel_mix(channel, n);
        }
    }

    pub(super) fn rwkv6(&mut self, spec: &Rwkv6Spec) {
        let (n, n_kv) = (spec.n_embd, spec.n_kv());
        self.weight(Role::TimeMixLerpX, &[n]);
        self.alternative(Role::TimeMixLerp, &[5, 1, 1, n]);
        // Older files have them apart.
        for role in RATES {
            self.alternative(role, &[n]);
        }
        self.weight(Role::TimeMixW1, &[5 * spec.mix_rank, n]);
        self.weight(Role::TimeMixW2, &[5, n, spec.mix_rank]);
        if spec.head_norm.is_some() {
            self.weight(Role::TimeMixFirst, &[spec.n_head(), spec.head_dim]);
        }
        self.weight(Role::TimeMixDecay, &[n]);
        self.weight(Role::TimeMixDecayW1, &[spec.decay_rank, n]);
        self.weight(Role::TimeMixDecayW2, &[n, spec.decay_rank]);
        for (role, n_out) in
            [(Role::TimeMixKey, n_kv), (Role::TimeMixValue, n_kv), (Role::TimeMixReceptance, n)]
        {
            self.weight(role, &[n_out, n]);
            if spec.head_norm.is_none() {
                self.bias(role, n_out, self.promises.qkv_bias);
            }
        }
        self.weight(Role::TimeMixGate, &[n, n]);
        if let Some(norm) = spec.head_norm {
            self.norm(Role::TimeMixLn, norm, n);
        }
        self.weight(Role::TimeMixOutput, &[n, n]);
        if let Some(channel) = spec.channel {
            self.channel_mix(channel, n);
        }
    }

    fn channel_mix(&mut self, channel: ChannelMixSpec, n: usize) {
        self.norm(Role::AttnNorm2, channel.norm, n);
        self.weight(Role::ChannelMixLerpK, &[n]);
        if channel.has_receptance {
            self.weight(Role::ChannelMixLerpR, &[n]);
            self.weight(Role::ChannelMixReceptance, &[n, n]);
        }
        self.weight(Role::ChannelMixKey, &[channel.n_ff, n]);
        self.weight(Role::ChannelMixValue, &[n, channel.n_ff]);
    }
}

/// The rates of RWKV-6's mixtures, in the order of the tensor that has all of them.
pub(in crate::model) const RATES: [Role; 5] =
    [Role::TimeMixLerpW, Role::TimeMixLerpK, Role::TimeMixLerpV, Role::TimeMixLerpR, Role::TimeMixLerpG];
