//! `glm4`: GLM 4 9B and 32B of 2025: half of each head is rotated, gate and up lie in one matrix, norms stand
//! before and behind both parts. The text part of GLM 4.1V and 4.6V Flash is one.

use super::prelude::*;

/// The `glm4` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "glm4",
    checkpoint_classes: &[
        "Glm4ForCausalLM",
        "Glm4vForConditionalGeneration",
        "Glm46VForConditionalGeneration",
        "GlmOcrForConditionalGeneration",
    ],
    model_types: &["glm4", "glm4v", "glm4v_text", "glm46v", "glm_ocr", "glm_ocr_text"],
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
    promises: |config| {
        let promises = promises(config)?;
        // Those that see have biases of q, k and v without saying so, or not.
        let qkv_bias = if is_text(config)? { promises.qkv_bias } else { Promise::Open };
        Ok(Promises { qkv_bias, output_bias: Promise::Absent, ..promises })
    },
};

/// Whether a model is not the text part of one that sees.
fn is_text(config: &Config) -> Result<bool> {
    Ok(config.string("model_type")?.is_none_or(|ty| ty == "glm4"))
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    // Those that see have no heads of their own length.
    let is_text = is_text(made.config)?;
    made.base(&Defaults {
        eps: 1.5625e-7,
        partial: Partial::Allowed(0.5),
        head_dim: is_text.then_some(128),
        has_sections: true,
        ..Defaults::RMS
    })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    // Files of others that say the sections of positions, for images, have their rows in the order of halves.
    let sections = keys.counts("rope.dimension_sections", 1)?;
    let has_sections = sections.is_some_and(|sections| sections.iter().any(|&n| n > 0));
    let order = if has_sections { RopeOrder::Halves } else { RopeOrder::Pairs };
    let base = Base::read(keys, NormKind::Rms, order, Gate::Silu)?;
    let layer = |i| {
        let ffn = FfnShape { is_fused: true, ..base.ffn(i) };
        let mut layer = base.layer_of(base.attention(i), FfnSpec::Gated(ffn));
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_post_norm = Some(base.norm);
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}
