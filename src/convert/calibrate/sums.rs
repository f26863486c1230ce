//! Which matrices add their outputs to the residual stream as they are, so that they can make up for what it lacks.

use crate::model::Until;
use crate::model::spec::layer::{FfnSpec, LayerSpec, MixerSpec};
use crate::model::spec::{Role, Suffix, TensorId};

/// Where a matrix adds its outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sum {
    /// How far the layer is computed when it does.
    pub(super) behind: Option<Until>,
    /// What multiplies the outputs.
    pub(super) scale: f32,
}

/// Where the tensor `name` of `layer` adds its outputs; `None` if something else becomes of them first.
pub(super) fn sum(name: &str, layer: &LayerSpec) -> Option<Sum> {
    let id = TensorId::from_gguf_name(name).filter(|id| id.suffix == Suffix::Weight)?;
    if layer.has_gains || layer.altup.is_some() {
        return None;
    }
    let of_mixer = match &layer.mixer {
        MixerSpec::Attention(_) | MixerSpec::Mla(_) => Some(Role::AttnOutput),
        MixerSpec::ShortConv(_) => Some(Role::ShortConvOutput),
        MixerSpec::DeltaNet(_) | MixerSpec::Mamba2(_) | MixerSpec::Mamba1(_) => Some(Role::SsmOut),
        _ => None,
    };
    if Some(id.role) == of_mixer && layer.mixer_post_norm.is_none() {
        return Some(Sum { behind: None, scale: layer.residual_scale * layer.mixer_scale });
    }
    let is_plain = matches!(layer.ffn, FfnSpec::Dense(_) | FfnSpec::Gated(_));
    let of_ffn = id.role == Role::FfnDown && is_plain && layer.ffn_post_norm.is_none();
    of_ffn.then_some(Sum { behind: Some(Until::Mixer), scale: layer.residual_scale })
}
