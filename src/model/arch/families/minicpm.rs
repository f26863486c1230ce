//! `minicpm`: MiniCPM 1 and 4: Llama with multipliers of the embedding, the residuals and the logits.

use super::prelude::*;

/// The `minicpm` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "minicpm",
    checkpoint_classes: &["MiniCPMForCausalLM"],
    model_types: &["minicpm"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises: super::gemma::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::RMS)?;
    multipliers(made)
}

/// Writes the multipliers of all MiniCPMs.
pub(super) fn multipliers(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    made.f32_or("embedding_scale", "scale_emb", 1.0)?;
    let n_layer = made.n_layer()?;
    let depth = config.f32("scale_depth")?.unwrap_or(1.0);
    made.put("residual_scale", Value::F32(depth / (n_layer as f32).sqrt()));
    let n_embd = config.required_count("hidden_size")?;
    let of = config.f32("dim_model_base")?.unwrap_or(1.0);
    made.put("logit_scale", Value::F32(n_embd as f32 / of));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    multiply(&base, base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())?)
}

/// Applies the multipliers of all MiniCPMs.
pub(super) fn multiply(base: &Base<'_>, mut model: ModelSpec) -> Result<ModelSpec> {
    let keys = &base.keys;
    // Old files do not say them.
    model.embed.scale = keys.f32("embedding_scale")?.unwrap_or(12.0);
    let residual_scale = keys.f32("residual_scale")?.unwrap_or(1.4 / (base.n_layer as f32).sqrt());
    model.layers.iter_mut().for_each(|layer| layer.residual_scale = residual_scale);
    model.head.scale = 1.0 / keys.f32("logit_scale")?.unwrap_or(base.n_embd as f32 / 256.0);
    Ok(model)
}
