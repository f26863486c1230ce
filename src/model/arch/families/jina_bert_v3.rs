//! `jina-bert-v3`: XLM-RoBERTa with rotary positions; q, k and v in one matrix. Its adapters for tasks are left out.

use super::prelude::*;

/// The `jina-bert-v3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "jina-bert-v3",
    checkpoint_classes: &["JinaEmbeddingsV3Model"],
    model_types: &["jina_embeddings_v3"],
    keys,
    spec,
    names: Names {
        base_prefix: "roberta.",
        layer_prefix: "roberta.encoder.layers.",
        other: &[
            (Role::TokenEmbd, "roberta.embeddings.word_embeddings"),
            (Role::TokenTypes, "roberta.embeddings.token_type_embeddings"),
            (Role::TokenEmbdNorm, "roberta.emb_ln"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "mixer.Wqkv"),
            (Role::AttnOutput, "mixer.out_proj"),
            (Role::AttnOutputNorm, "norm1"),
            (Role::FfnUp, "mlp.fc1"),
            (Role::FfnDown, "mlp.fc2"),
            (Role::LayerOutputNorm, "norm2"),
        ],
        left_out: &["pooler."],
        ..Names::PLAIN
    },
    source: plain,
    promises: |_| Ok(encoder::promises(true)),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "gelu", &["gelu"])?;
    made.base(&Defaults { freq_base: 2e4, ..Defaults::LAYER })?;
    encoder::keys(made, made.config.count("type_vocab_size")?.unwrap_or(1))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
    encoder::bert(&base, (0..base.n_layer).map(layer).collect())
}
