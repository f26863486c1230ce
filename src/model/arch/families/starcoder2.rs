//! `starcoder2`: StarCoder 2: layer norms, plain feed-forward parts, biases everywhere, a window in every layer.

use super::prelude::*;

/// The `starcoder2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "starcoder2",
    checkpoint_classes: &["Starcoder2ForCausalLM"],
    model_types: &["starcoder2"],
    keys,
    spec,
    names: Names { other: &[(Role::FfnUp, "mlp.c_fc"), (Role::FfnDown, "mlp.c_proj")], ..Names::PLAIN },
    source: plain,
    promises: |config| {
        let bias = Promise::of(config.bool("use_bias")?.unwrap_or(true));
        let is_tied = Some(config.bool("tie_word_embeddings")?.unwrap_or(true));
        Ok(Promises { is_tied, qkv_bias: bias, output_bias: bias, mlp_bias: bias })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
    made.base(&Defaults { eps_name: "norm_epsilon", ..Defaults::LAYER })?;
    made.optional_count("attention.sliding_window", "sliding_window")?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluTanh)?;
    let window = base.window()?;
    let layer = |i| {
        let attention = AttentionSpec { window, ..base.attention(i) };
        base.layer_of(attention, FfnSpec::Dense(base.ffn(i)))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
