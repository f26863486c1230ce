//! `neo-bert`: NeoBERT: RMS norms in front of parts, rotary positions over pairs, gated feed-forward parts; checkpoints
//! have q, k and v of each head together.

use super::prelude::*;

/// The `neo-bert` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "neo-bert",
    checkpoint_classes: &["NeoBERT", "NeoBERTLMHead", "NeoBERTForSequenceClassification"],
    model_types: &["neobert"],
    keys,
    spec,
    names: Names {
        layer_prefix: "model.transformer_encoder.",
        other: &[
            (Role::TokenEmbd, "model.encoder"),
            (Role::EncOutputNorm, "model.layer_norm"),
            (Role::AttnNorm, "attention_norm"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "qkv"),
            (Role::AttnOutput, "wo"),
            (Role::FfnNorm, "ffn_norm"),
            (Role::FfnUp, "ffn.w12"),
            (Role::FfnDown, "ffn.w3"),
        ],
        left_out: &["decoder."],
        ..Names::PLAIN
    },
    source,
    promises: |_| Ok(encoder::promises(false)),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "swiglu", &["swiglu", "SwiGLU"])?;
    made.refuse("rms_norm", true, false)?;
    made.refuse("rope", true, false)?;
    made.refuse("ngpt", false, true)?;
    let n_ctx_name = made.first_of(&["max_length", "max_position_embeddings"]);
    made.base(&Defaults { eps_name: "norm_eps", n_ctx_name, n_ctx: 4096, ..Defaults::RMS })?;
    // Gates take a third of the width that configurations say, rounded up to a multiple of eight.
    let width = made.config.required_count("intermediate_size")?;
    made.replace_count("feed_forward_length", (width.saturating_mul(2) / 3).next_multiple_of(8))?;
    encoder::keys(made, 0)?;
    // Its authors take the first stream, of texts and of what classifiers see.
    if made.contains("classifier.output_labels") {
        return Ok(());
    }
    made.replace("pooling_type", Value::U32(Pooling::Cls.code()));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let layer = |i: usize| {
        let ffn = FfnShape { is_fused: true, ..base.ffn(i) };
        base.layer_of(base.attention(i), FfnSpec::Gated(ffn))
    };
    let mut model = encoder::model(&base, (0..base.n_layer).map(layer).collect())?;
    model.head.norm_role = Role::EncOutputNorm;
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if let Some(head) =
        encoder::head(sources, slot, &[(Role::Cls, "dense"), (Role::ClsOutput, "classifier")])?
    {
        return Ok(head);
    }
    let source = plain(sources, slot)?;
    let attention = slot.id.layer.and_then(|layer| sources.spec.layers[layer].mixer.attention());
    match (slot.id.role, source, attention) {
        (Role::AttnQkv, Some(Source::Pieces(pieces, values)), Some(attention)) => {
            Ok(Some(Source::Pieces(super::falcon::by_kv_head(&pieces[0], attention), values)))
        }
        (_, source, _) => Ok(source),
    }
}
