//! `codeshell`: CodeShell: GPT-2 with grouped queries and rotary positions, and matrices that are not turned.

use super::prelude::*;

/// The `codeshell` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "codeshell",
    checkpoint_classes: &["CodeShellForCausalLM"],
    model_types: &["codeshell"],
    keys,
    spec,
    names: super::gpt2::NAMES,
    source: plain,
    promises: |config| {
        let is_tied = Some(config.bool("tie_word_embeddings")?.unwrap_or(true));
        Ok(Promises { is_tied, ..super::gpt2::promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let names = ["gelu_pytorch_tanh", "gelu_new"];
    made.activation(&["activation_function"], "gelu_pytorch_tanh", &names)?;
    made.activation(&["position_embedding_type"], "rope", &["rope"])?;
    let has_groups = made.config.bool("group_query_attention")?.unwrap_or(true);
    let n_head_kv_name = if has_groups { "num_query_groups" } else { "n_head" };
    made.base(&Defaults { n_head_kv_name, ..super::gpt2::DEFAULTS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluTanh)?;
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
    base.model((0..base.n_layer).map(layer).collect())
}
