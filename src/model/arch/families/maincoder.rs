//! `maincoder`: Maincoder: Llama with norms of query and key heads behind the rotation, which is over pairs in
//! checkpoints too.

use super::prelude::*;

/// The `maincoder` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "maincoder",
    checkpoint_classes: &["MaincoderForCausalLM"],
    model_types: &["maincoder"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let qk_norm = QkNormSpec { is_after_rope: true, ..base.qk_norm() };
    let layer = |i| base.layer(i, |attention| attention.qk_norm = Some(qk_norm));
    base.model((0..base.n_layer).map(layer).collect())
}
