//! `qwen3moe`: Qwen 3 30B-A3B and 235B-A22B, Qwen 3 Coder: Qwen 3 with experts in every layer.

use super::prelude::*;

/// The `qwen3moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen3moe",
    checkpoint_classes: &["Qwen3MoeForCausalLM", "Qwen3MoeModel"],
    model_types: &["qwen3_moe"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_sliding_window", false, true)?;
    made.refuse("norm_topk_prob", false, false)?;
    super::qwen2moe::every_layer_has_experts(made)?;
    made.base(&Defaults::RMS)?;
    made.experts(&["num_local_experts", "num_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    Ok(())
}

/// What keys of this form mean.
pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    let layer = |i| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
