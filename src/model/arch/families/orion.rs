//! `orion`: Orion 14B: Llama with layer norms, and rotary positions over halves.

use super::prelude::*;

/// The `orion` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "orion",
    checkpoint_classes: &["OrionForCausalLM"],
    model_types: &["orion"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps_name: "rms_norm_eps", ..Defaults::LAYER })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::Silu)?;
    base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
