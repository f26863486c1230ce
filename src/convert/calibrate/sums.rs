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
    if layer.has_gains || layer.altup.is_some() || layer.hyper.is_some() || layer.norms_stream {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::convert::{FileType, Plan, PlanOptions};

    #[test]
    fn outputs_that_nothing_comes_between_are_added_to_the_stream() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale");
        let checkpoint = Checkpoint::open(&path).unwrap();
        let plan = Plan::new(&checkpoint, &PlanOptions::new(FileType::F32)).unwrap();
        let plain = &plan.spec().layers[0];
        let scaled = LayerSpec { residual_scale: 0.5, mixer_scale: 3.0, ..plain.clone() };
        let attention = Some(Sum { behind: None, scale: 1.5 });
        let ffn = Some(Sum { behind: Some(Until::Mixer), scale: 0.5 });
        assert_eq!(sum("blk.0.attn_output.weight", &scaled), attention);
        assert_eq!(sum("blk.0.ffn_down.weight", &scaled), ffn);
        for name in
            ["blk.0.attn_output.bias", "blk.0.attn_v.weight", "blk.0.ffn_up.weight", "blk.0.ssm_out.weight"]
        {
            assert_eq!(sum(name, plain), None, "{name}");
        }
        // A norm behind one part leaves the other as it is; gains of either leave none.
        let normed = LayerSpec { mixer_post_norm: plain.mixer_norm, ..scaled.clone() };
        assert_eq!(sum("blk.0.attn_output.weight", &normed), None);
        assert_eq!(sum("blk.0.ffn_down.weight", &normed), ffn);
        let normed = LayerSpec { ffn_post_norm: plain.mixer_norm, ..scaled.clone() };
        assert_eq!(sum("blk.0.ffn_down.weight", &normed), None);
        assert_eq!(sum("blk.0.attn_output.weight", &normed), attention);
        let gained = LayerSpec { has_gains: true, ..scaled };
        assert_eq!(sum("blk.0.ffn_down.weight", &gained), None);
    }
}
