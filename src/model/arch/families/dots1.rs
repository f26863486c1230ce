//! `dots1`: dots.llm1: dense layers first, then experts chosen by sigmoids beside shared ones; norms of heads.

use super::prelude::*;

/// The `dots1` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "dots1",
    checkpoint_classes: &["Dots1ForCausalLM"],
    model_types: &["dots1"],
    keys,
    spec,
    names: Names::PLAIN,
    source: super::glm4moe::source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::RMS)?;
    super::deepseek2::experts(made)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    spec_with(&base, Scoring::Sigmoid, |_, attention| attention.qk_norm = Some(base.qk_norm()))
}

/// A model of dense layers in front of those with experts, whose attention is changed by `change`.
pub(super) fn spec_with(
    base: &Base<'_>,
    scoring: Scoring,
    change: impl Fn(usize, &mut AttentionSpec),
) -> Result<ModelSpec> {
    let (n_dense, experts) = (base.n_dense()?, super::deepseek2::experts_of(base, scoring)?);
    let experts = experts.ok_or_else(|| base.keys.missing("expert_count"))?;
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        change(i, &mut attention);
        let ffn = if i < n_dense { FfnSpec::Gated(base.ffn(i)) } else { FfnSpec::Experts(experts.clone()) };
        base.layer_of(attention, ffn)
    };
    base.model((0..base.n_layer).map(layer).collect())
}
