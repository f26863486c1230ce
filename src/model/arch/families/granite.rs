//! `granite`: Granite 3 and 4: Llama with multipliers of the embedding, the residuals, the scores and the
//! logits.

use super::prelude::*;

/// The `granite` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "granite",
    checkpoint_classes: &["GraniteForCausalLM", "GraniteModel"],
    model_types: &["granite", "granite4_vision_text", "granite_docling_text"],
    keys,
    spec,
    names: Names { is_permuted: true, left_out: &["encoder.", "projector."], ..Names::PLAIN },
    source: plain,
    promises,
};

/// Writes the keys that all Granites have.
pub(super) fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::RMS)?;
    made.f32_or("attention.scale", "attention_multiplier", 1.0)?;
    made.f32_or("embedding_scale", "embedding_multiplier", 1.0)?;
    made.f32_or("residual_scale", "residual_multiplier", 1.0)?;
    made.f32_or("logit_scale", "logits_scaling", 1.0)?;
    Ok(())
}

/// Applies the multipliers of all Granites.
pub(super) fn multiply(keys: &Keys<'_>, mut model: ModelSpec) -> Result<ModelSpec> {
    let or_one = |key: &str| Ok::<_, crate::Error>(keys.f32(key)?.filter(|&x| x != 0.0).unwrap_or(1.0));
    model.embed.scale = or_one("embedding_scale")?;
    model.head.scale = 1.0 / or_one("logit_scale")?;
    let scale = keys.f32("attention.scale")?.filter(|&scale| scale != 0.0);
    let residual_scale = or_one("residual_scale")?;
    for layer in &mut model.layers {
        layer.residual_scale = residual_scale;
        if let MixerSpec::Attention(attention) = &mut layer.mixer {
            attention.scale = scale.unwrap_or(attention.scale);
        }
    }
    Ok(model)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    multiply(&keys, base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())?)
}
