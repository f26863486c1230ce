//! `deepseek`: DeepSeek MoE 16B: dense layers first, then experts chosen by probabilities beside shared ones.

use super::prelude::*;

/// The `deepseek` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "deepseek",
    checkpoint_classes: &["DeepseekForCausalLM"],
    model_types: &["deepseek"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::RMS)?;
    super::deepseek2::experts(made)?;
    made.replace("expert_weights_norm", Value::Bool(made.config.bool("norm_topk_prob")?.unwrap_or(false)));
    made.replace_count("expert_gating_func", 1)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    super::dots1::spec_with(&base, Scoring::Softmax, |_, _| {})
}
