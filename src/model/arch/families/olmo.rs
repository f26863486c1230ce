//! `olmo`: OLMo 1: layer norms without weights; q, k and v may be bounded.

use super::prelude::*;

/// The `olmo` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "olmo",
    checkpoint_classes: &["OlmoForCausalLM", "OLMoForCausalLM"],
    model_types: &["olmo"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::LAYER)?;
    made.optional_f32("attention.clamp_kqv", "clip_qkv")?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Layer, RopeOrder::Pairs, Gate::Silu)?;
    base.norm.has_weight = false;
    let clamp = keys.f32("attention.clamp_kqv")?.filter(|&bound| bound > 0.0);
    let layer = |i| base.layer(i, |attention| attention.clamp = clamp);
    base.model((0..base.n_layer).map(layer).collect())
}
