//! `jina-bert-v2`: BERT whose scores fall with the distance (ALiBi) instead of learned positions, with gates and the
//! rest of feed-forward parts in one matrix.

use super::prelude::*;

/// The bias of its heads, which files do not say.
const ALIBI: f32 = 8.0;

/// The `jina-bert-v2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "jina-bert-v2",
    checkpoint_classes: &["JinaBertModel", "JinaBertForMaskedLM"],
    model_types: &[],
    keys,
    spec,
    names: Names {
        base_prefix: "bert.",
        layer_prefix: "bert.encoder.layer.",
        other: &[
            (Role::TokenEmbd, "bert.embeddings.word_embeddings"),
            (Role::TokenTypes, "bert.embeddings.token_type_embeddings"),
            (Role::TokenEmbdNorm, "bert.embeddings.LayerNorm"),
            (Role::AttnQ, "attention.self.query"),
            (Role::AttnK, "attention.self.key"),
            (Role::AttnV, "attention.self.value"),
            (Role::AttnQNorm, "attention.self.layer_norm_q"),
            (Role::AttnKNorm, "attention.self.layer_norm_k"),
            (Role::AttnOutput, "attention.output.dense"),
            (Role::AttnOutputNorm, "attention.output.LayerNorm"),
            (Role::FfnUp, "mlp.gated_layers"),
            (Role::FfnDown, "mlp.wo"),
            (Role::LayerOutputNorm, "mlp.layernorm"),
        ],
        left_out: &["pooler.", "cls.", "embeddings.position_ids"],
        ..Names::PLAIN
    },
    source: plain,
    // The matrix of gates alone has no bias.
    promises: |_| Ok(Promises { mlp_bias: Promise::Open, ..encoder::promises(true) }),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "gelu", &["gelu"])?;
    made.activation(&["feed_forward_type"], "geglu", &["geglu"])?;
    made.activation(&["position_embedding_type"], "alibi", &["alibi"])?;
    made.base(&Defaults { eps: 1e-12, ..Defaults::LAYER })?;
    encoder::keys(made, made.config.count("type_vocab_size")?.unwrap_or(2))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    let has_gate = base.keys.has_tensor("blk.0.ffn_gate.weight");
    let layer = |i| {
        let qk_norm = QkNormSpec { extent: QkNormExtent::Token, is_optional: true, ..base.qk_norm() };
        let attention =
            AttentionSpec { rope: None, alibi: Some(ALIBI), qk_norm: Some(qk_norm), ..base.attention(i) };
        base.layer_of(attention, FfnSpec::Gated(FfnShape { is_fused: !has_gate, ..base.ffn(i) }))
    };
    let mut model = encoder::bert(&base, (0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}
