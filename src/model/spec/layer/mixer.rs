//! The parts of layers that look at other positions.

use super::attention::AttentionSpec;
use super::conv::ShortConvSpec;
use super::mla::MlaSpec;
use super::recurrent::{DeltaNetSpec, HeadMambaSpec, KdaSpec, LightningSpec, Mamba1Spec, Mamba2Spec};
use super::rwkv::{Rwkv6Spec, Rwkv7Spec};
use super::{FfnInput, LayerSpec};
use crate::limits;
use crate::model::spec::faults::first_count_fault;
use crate::model::spec::rope::RopeSpec;

/// The part that looks at other positions.
#[derive(Clone, Debug, PartialEq)]
pub enum MixerSpec {
    /// Grouped queries over cached keys and values.
    Attention(AttentionSpec),
    /// Queries over cached latent vectors.
    Mla(MlaSpec),
    /// A gated convolution over the last few positions.
    ShortConv(ShortConvSpec),
    /// A linear recurrence that corrects what it remembers.
    DeltaNet(DeltaNetSpec),
    /// The same whose rows decay each at their own rates.
    Kda(KdaSpec),
    /// Attention without a softmax: a linear recurrence whose heads decay each at a pace that never changes.
    Lightning(LightningSpec),
    /// A linear recurrence whose heads decay.
    Mamba2(Mamba2Spec),
    /// A linear recurrence whose numbers decay each for itself.
    Mamba1(Mamba1Spec),
    /// A linear recurrence whose heads decay, by steps that are made of the convolved values.
    HeadMamba(HeadMambaSpec),
    /// RWKV-6's, whose rows decay each at their own rates.
    Rwkv6(Rwkv6Spec),
    /// RWKV-7's, which also corrects what it remembers.
    Rwkv7(Rwkv7Spec),
    /// Two mixers of the same input, whose outputs are added.
    AttentionAndMamba2(AttentionSpec, Mamba2Spec),
    /// A matrix in the place of attention, that looks at one position alone.
    Linear {
        /// Width of the residual stream.
        n_embd: usize,
    },
    /// Nothing: the layer looks at one position alone.
    None,
}

impl MixerSpec {
    /// Floats that it keeps of the text as a whole; 0 for one that keeps something of every position.
    pub fn state_len(&self) -> usize {
        match self {
            Self::Attention(_) | Self::Mla(_) | Self::Linear { .. } | Self::None => 0,
            Self::ShortConv(spec) => spec.conv().state_len(),
            Self::DeltaNet(spec) => spec.state_len(),
            Self::Kda(spec) => spec.state_len(),
            Self::Lightning(spec) => spec.state_len(),
            Self::Mamba2(spec) | Self::AttentionAndMamba2(_, spec) => spec.state_len(),
            Self::Mamba1(spec) => spec.state_len(),
            Self::HeadMamba(spec) => spec.state_len(),
            Self::Rwkv6(spec) => spec.state_len(),
            Self::Rwkv7(spec) => spec.state_len(),
        }
    }

    /// The attention over keys and values that is among it.
    pub fn attention(&self) -> Option<&AttentionSpec> {
        match self {
            Self::Attention(spec) | Self::AttentionAndMamba2(spec, _) => Some(spec),
            _ => None,
        }
    }

    /// What is wrong with it in layer `i` of `layers`.
    pub(super) fn fault(&self, i: usize, layers: &[LayerSpec], ropes: &[RopeSpec]) -> Option<String> {
        let fault = match self {
            Self::Attention(spec) => return spec.fault(i, layers, ropes),
            Self::Mla(spec) => return spec.fault(ropes),
            Self::ShortConv(spec) => spec.fault(),
            Self::DeltaNet(spec) => spec.fault(),
            Self::Kda(spec) => spec.fault(),
            Self::Lightning(spec) => spec.fault(),
            Self::Mamba2(spec) => spec.fault(),
            Self::Mamba1(spec) => spec.fault(),
            Self::HeadMamba(spec) => spec.fault(),
            Self::Rwkv6(spec) => spec.fault(),
            Self::Rwkv7(spec) => spec.fault(),
            Self::AttentionAndMamba2(attention, spec) => {
                attention.fault(i, layers, ropes).or_else(|| spec.fault())
            }
            Self::Linear { n_embd } => {
                return first_count_fault(&[("the embedding length", *n_embd, limits::MAX_DIMENSION)]);
            }
            Self::None => return None,
        };
        // Behind a recurrent mixer, rows whose outputs are not wanted are dropped, together with their inputs.
        let is_parallel = || !matches!(layers[i].ffn_input, FfnInput::Sequential(_));
        fault.or_else(|| is_parallel().then(|| format!("layer {i} has parts beside a recurrent mixer")))
    }
}
