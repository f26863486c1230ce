//! `cohere2`: Command R7B and A: Command R with windows, and without positions where there is no window.

use super::prelude::*;

/// The `cohere2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "cohere2",
    checkpoint_classes: &["Cohere2ForCausalLM"],
    model_types: &["cohere2"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises: super::gemma::promises,
};

/// Layers to one without a window.
const PERIOD: usize = 4;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::LAYER)?;
    made.f32_or("logit_scale", "logit_scale", 0.0625)?;
    made.count("attention.sliding_window", "sliding_window")?;
    super::gemma::windows(made, PERIOD)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Pairs, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let layer = |i: usize| {
        let mut layer = base.layer(i, |attention| {
            attention.window = window.filter(|_| windowed[i]);
            attention.rope = attention.rope.filter(|_| windowed[i]);
        });
        layer.ffn_input = FfnInput::Shared;
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.head.scale = keys.f32("logit_scale")?.filter(|&scale| scale != 0.0).unwrap_or(1.0);
    Ok(model)
}
