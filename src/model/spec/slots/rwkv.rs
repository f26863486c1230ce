//! The tensors of RWKV's layers.

use super::{Presence, Slots};
use crate::model::spec::layer::Rwkv7Spec;
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
        let Some(channel) = spec.channel else { return };
        self.norm(Role::AttnNorm2, channel.norm, n);
        self.weight(Role::ChannelMixLerpK, &[n]);
        self.weight(Role::ChannelMixKey, &[channel.n_ff, n]);
        self.weight(Role::ChannelMixValue, &[n, channel.n_ff]);
    }
}
