//! `arcee`: AFM 4.5B: Llama with a plain feed-forward part of squared ReLU.

use super::prelude::*;

/// The `arcee` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "arcee",
    checkpoint_classes: &["ArceeForCausalLM"],
    model_types: &["arcee"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "relu2", &["relu2"])?;
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::ReluSquared)?;
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
    base.model((0..base.n_layer).map(layer).collect())
}
