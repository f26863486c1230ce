//! `olmoe`: OLMoE: experts in every layer, norms of all queries and all keys.

use super::prelude::*;

/// The `olmoe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "olmoe",
    checkpoint_classes: &["OlmoeForCausalLM"],
    model_types: &["olmoe"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("norm_topk_prob", false, true)?;
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })?;
    // Other programs bound queries and keys in front of their norms, which the model does behind them.
    if made.config.f32("clip_qkv")?.is_some() {
        return Err(made.unsupported("clip_qkv, which the olmoe architecture cannot express".into()));
    }
    made.experts(&["num_experts", "num_local_experts"])
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.is_normalised = false;
    let clamp = keys.f32("attention.clamp_kqv")?;
    let layer = |i| {
        let mut attention = base.attention(i);
        attention.clamp = clamp;
        attention.qk_norm = Some(QkNormSpec { extent: QkNormExtent::Token, ..base.qk_norm() });
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
