//! `nomic-bert`: BERT with rotary positions, gated feed-forward parts and no biases; q, k and v in one matrix.

use super::prelude::*;

/// The `nomic-bert` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "nomic-bert",
    checkpoint_classes: &["NomicBertModel"],
    model_types: &["nomic_bert"],
    keys,
    spec,
    names: Names {
        base_prefix: "",
        layer_prefix: "encoder.layers.",
        other: &[
            (Role::TokenEmbd, "embeddings.word_embeddings"),
            (Role::TokenTypes, "embeddings.token_type_embeddings"),
            (Role::TokenEmbdNorm, "emb_ln"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attn.Wqkv"),
            (Role::AttnOutput, "attn.out_proj"),
            (Role::AttnOutputNorm, "norm1"),
            (Role::FfnUp, "mlp.fc11"),
            (Role::FfnGate, "mlp.fc12"),
            (Role::FfnDown, "mlp.fc2"),
            (Role::LayerOutputNorm, "norm2"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: |_| Ok(encoder::promises(false)),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["activation_function", "hidden_act"], "silu", &["silu", "swiglu"])?;
    for flag in [
        "prenorm",
        "causal",
        "rotary_emb_interleaved",
        "qkv_proj_bias",
        "mlp_fc1_bias",
        "mlp_fc2_bias",
        "use_rms_norm",
        "parallel_block",
    ] {
        made.refuse(flag, false, true)?;
    }
    made.refuse("scale_attn_weights", true, false)?;
    made.refuse_number("rotary_emb_fraction", 1.0)?;
    made.refuse_number("rotary_emb_scale_base", 0.0)?;
    numbers(made)
}

/// Writes the numbers of all Nomic BERTs.
pub(super) fn numbers(made: &mut FromConfig<'_>) -> Result<()> {
    made.base(&Defaults {
        eps: 1e-12,
        eps_name: made.first_of(&["layer_norm_epsilon", "layer_norm_eps"]),
        freq_base: 1e3,
        n_ctx_name: made.first_of(&["n_positions", "max_position_embeddings"]),
        n_layer_name: made.first_of(&["n_layer", "num_hidden_layers"]),
        n_embd_name: made.first_of(&["n_embd", "hidden_size"]),
        n_head_name: made.first_of(&["n_head", "num_attention_heads"]),
        n_ff_name: made.first_of(&["n_inner", "intermediate_size"]),
        ..Defaults::LAYER
    })?;
    // It may read more than it was trained for with other rotary bases; files have what it was trained for.
    if let Some(n_ctx) = made.config.count("max_trained_positions")? {
        made.replace_count("context_length", n_ctx)?;
    }
    encoder::keys(made, made.config.count("type_vocab_size")?.unwrap_or(2))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::Silu)?;
    encoder::bert(&base, (0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
