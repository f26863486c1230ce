//! `qwen35moe`: Qwen 3.5 to 3.8 with experts.

use super::prelude::*;
use super::qwen3next::{DEFAULTS, NAMES, delta_keys, expert_keys, gated_experts, spec_with};

/// The `qwen35moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen35moe",
    checkpoint_classes: &["Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"],
    model_types: &["qwen3_5_moe", "qwen3_5_moe_text"],
    keys: |made| {
        // There are no dense parts.
        made.base(&Defaults { n_ff_name: "", ..DEFAULTS })?;
        super::qwen2vl::sections(made, super::qwen35::SECTIONS)?;
        expert_keys(made)?;
        delta_keys(made)
    },
    spec,
    names: NAMES,
    source: super::qwen35::source,
    promises,
};

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let experts = gated_experts(&base)?;
    spec_with(&base, HeadOrder::Tiled, |_| FfnSpec::Experts(experts.clone()))
}
