//! `glm-dsa`: GLM 5: as DeepSeek V3.2, with layers that use the choice of positions of another.

use super::deepseek32::{indexer_keys, spec};
use super::prelude::*;

/// The `glm-dsa` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "glm-dsa",
    checkpoint_classes: &["GlmMoeDsaForCausalLM"],
    model_types: &["glm_moe_dsa"],
    keys,
    spec,
    names: super::deepseek2::NAMES,
    source: super::deepseek2::source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("attention_bias", false, true)?;
    super::deepseek2::keys_with(made, &Defaults { eps: 1e-5, freq_base: 1e6, ..Defaults::RMS })?;
    indexer_keys(made)?;
    if let Some(kinds) = made.config.strings("indexer_types")? {
        let is_own = kinds.iter().map(|kind| *kind == "full").collect();
        made.put("attention.indexer.types", Value::Bools(is_own));
    }
    Ok(())
}
