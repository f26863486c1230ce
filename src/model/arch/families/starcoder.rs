//! `starcoder`: StarCoder 1, SantaCoder: GPT-2 with one key-value head, and matrices that are not turned.

use super::prelude::*;

/// The `starcoder` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "starcoder",
    checkpoint_classes: &["GPTBigCodeForCausalLM"],
    model_types: &["gpt_bigcode"],
    keys,
    spec: super::gpt2::spec,
    names: super::gpt2::NAMES,
    source: plain,
    promises: super::gpt2::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.gelu("activation_function", super::gpt2::GELU)?;
    made.refuse("multi_query", true, false)?;
    made.refuse("scale_attn_weights", true, false)?;
    made.base(&super::gpt2::DEFAULTS)?;
    made.replace_count("attention.head_count_kv", 1)
}
