//! `glm4`: GLM 4 9B and 32B of 2025: half of each head is rotated, gate and up lie in one matrix, norms stand
//! before and behind both parts.

use super::prelude::*;

/// The `glm4` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "glm4",
    checkpoint_classes: &["Glm4ForCausalLM"],
    model_types: &["glm4"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnPostNorm, "post_self_attn_layernorm"),
            (Role::FfnPostNorm, "post_mlp_layernorm"),
            (Role::FfnUp, "mlp.gate_up_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: |config| Ok(Promises { output_bias: Promise::Absent, ..promises(config)? }),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults {
        eps: 1.5625e-7,
        partial: Partial::Allowed(0.5),
        head_dim: Some(128),
        ..Defaults::RMS
    })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let layer = |i| {
        let ffn = FfnShape { is_fused: true, ..base.ffn(i) };
        let mut layer = base.layer_of(base.attention(i), FfnSpec::Gated(ffn));
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_post_norm = Some(base.norm);
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}
