//! `nemotron`: Nemotron 3 and Minitron: layer norms that store their difference from one, squared ReLU, a part of
//! each head is rotated.

use super::prelude::*;

/// The `nemotron` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "nemotron",
    checkpoint_classes: &["NemotronForCausalLM"],
    model_types: &["nemotron"],
    keys,
    spec,
    names: Names::PLAIN,
    source: super::gemma::source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "relu2", &["relu2"])?;
    made.base(&Defaults { eps_name: "norm_eps", partial: Partial::Allowed(0.5), ..Defaults::LAYER })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::ReluSquared)?;
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
    base.model((0..base.n_layer).map(layer).collect())
}
