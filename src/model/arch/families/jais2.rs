//! `jais2`: Jais 2: layer norms, plain feed-forward parts with squared ReLU, biases everywhere.

use super::prelude::*;

/// The `jais2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "jais2",
    checkpoint_classes: &["Jais2ForCausalLM"],
    model_types: &["jais2"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises: |config| {
        let of = |name: &str| Ok::<_, crate::Error>(Promise::of(config.bool(name)?.unwrap_or(true)));
        let bias = of("attention_bias")?;
        Ok(Promises { qkv_bias: bias, output_bias: bias, mlp_bias: of("mlp_bias")?, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "relu2", &["relu2"])?;
    made.base(&Defaults::LAYER)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::ReluSquared)?;
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
    base.model((0..base.n_layer).map(layer).collect())
}
