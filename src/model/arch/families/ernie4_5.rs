//! `ernie4_5`: ERNIE 4.5 0.3B: Llama whose checkpoints rotate pairs as well.

use super::prelude::*;

/// The `ernie4_5` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "ernie4_5",
    checkpoint_classes: &["Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"],
    model_types: &["ernie4_5"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

/// Biases everywhere or nowhere; the embedding is the output matrix where a configuration is silent.
pub(super) fn promises(config: &Config) -> Result<Promises> {
    let bias = Promise::of(config.bool("use_bias")?.unwrap_or(false));
    let is_tied = Some(config.bool("tie_word_embeddings")?.unwrap_or(true));
    Ok(Promises { is_tied, qkv_bias: bias, output_bias: bias, mlp_bias: bias })
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, freq_base: 5e5, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
