//! `qwen3`: Qwen 3: Llama with norms of query and key heads, and rotary
//! positions over halves.

use super::prelude::*;

/// The `qwen3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen3",
    checkpoint_classes: &["Qwen3ForCausalLM", "Qwen3Model"],
    model_types: &["qwen3"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_sliding_window", false, true)?;
    made.base(&Defaults { head_dim: Some(128), ..Defaults::RMS })
}

/// What keys of this form mean.
pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let layer = |i| base.layer(i, |attention| attention.qk_norm = Some(base.qk_norm()));
    base.model((0..base.n_layer).map(layer).collect())
}
