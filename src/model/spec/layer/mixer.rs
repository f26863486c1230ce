//! The parts of layers that look at other positions.

use super::attention::{AttentionSpec, MlaSpec};
use super::recurrent::{DeltaNetSpec, Mamba2Spec, ShortConvSpec};
use super::{FfnInput, LayerSpec};
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
    /// A linear recurrence.
    Mamba2(Mamba2Spec),
    /// Nothing: the layer looks at one position alone.
    None,
}

impl MixerSpec {
    /// Floats that it keeps of the text as a whole; 0 for one that keeps something of every position.
    pub fn state_len(&self) -> usize {
        match self {
            Self::Attention(_) | Self::Mla(_) | Self::None => 0,
            Self::ShortConv(spec) => spec.conv().state_len(),
            Self::DeltaNet(spec) => spec.state_len(),
            Self::Mamba2(spec) => spec.state_len(),
        }
    }

    /// What is wrong with it in layer `i` of `layers`.
    pub(super) fn fault(&self, i: usize, layers: &[LayerSpec], ropes: &[RopeSpec]) -> Option<String> {
        let fault = match self {
            Self::Attention(spec) => return spec.fault(i, layers, ropes),
            Self::Mla(spec) => return spec.fault(ropes),
            Self::ShortConv(spec) => spec.fault(),
            Self::DeltaNet(spec) => spec.fault(),
            Self::Mamba2(spec) => spec.fault(),
            Self::None => return None,
        };
        // Behind a recurrent mixer, rows whose outputs are not wanted are dropped, together with their inputs.
        let is_parallel = || !matches!(layers[i].ffn_input, FfnInput::Sequential(_));
        fault.or_else(|| is_parallel().then(|| format!("layer {i} has parts beside a recurrent mixer")))
    }
}
