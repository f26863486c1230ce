//! `bloom`: BLOOM: layer norms, also of the embedding, biases everywhere, scores that fall with the distance; q, k and
//! v of each head lie together.

use super::prelude::*;

/// The `bloom` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "bloom",
    checkpoint_classes: &["BloomForCausalLM", "BloomModel"],
    model_types: &["bloom"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.h.",
        other: &[
            (Role::TokenEmbd, "transformer.word_embeddings"),
            (Role::TokenEmbdNorm, "transformer.word_embeddings_layernorm"),
            (Role::OutputNorm, "transformer.ln_f"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "self_attention.query_key_value"),
            (Role::AttnOutput, "self_attention.dense"),
            (Role::FfnUp, "mlp.dense_h_to_4h"),
            (Role::FfnDown, "mlp.dense_4h_to_h"),
        ],
        ..Names::PLAIN
    },
    source: super::gptneox::source,
    promises: super::gpt2::promises,
};

/// The bias of its heads, which files do not say.
const ALIBI: f32 = 8.0;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("apply_residual_connection_post_layernorm", false, true)?;
    made.base(&Defaults {
        eps_name: "layer_norm_epsilon",
        n_ctx_name: "seq_length",
        n_ctx: 2048,
        n_ff_name: "n_inner",
        n_ff_times: 4,
        n_layer_name: made.first_of(&["n_layer", "num_hidden_layers"]),
        n_embd_name: made.first_of(&["hidden_size", "n_embed"]),
        n_head_name: made.first_of(&["n_head", "num_attention_heads"]),
        ..Defaults::LAYER
    })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluTanh)?;
    let attention = |i| AttentionSpec { rope: None, alibi: Some(ALIBI), ..base.attention(i) };
    let layer = |i| base.layer_of(attention(i), FfnSpec::Dense(base.ffn(i)));
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.embed.norm = Some(base.norm);
    model.ropes.clear();
    Ok(model)
}
