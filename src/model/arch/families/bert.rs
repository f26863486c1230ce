//! `bert`: BERT, RoBERTa, XLM-RoBERTa and DistilBERT: learned positions, norms of the stream behind both parts, and
//! biases everywhere. Every position sees the whole text.

use super::prelude::*;

/// The `bert` family, as BERT itself has it.
pub(super) static FAMILY: Family = Family {
    gguf_name: "bert",
    checkpoint_classes: &[
        "BertModel",
        "BertForMaskedLM",
        "BertForPreTraining",
        "BertForSequenceClassification",
    ],
    model_types: &["bert"],
    keys,
    spec,
    names: Names { base_prefix: "bert.", ..NAMES },
    source: |sources, slot| source(sources, slot, "bert.", 0),
    promises: |_| Ok(encoder::promises(true)),
};

/// RoBERTa and XLM-RoBERTa, whose positions begin behind the number of the padding token.
pub(super) static ROBERTA: Family = Family {
    gguf_name: "bert",
    checkpoint_classes: &[
        "RobertaModel",
        "RobertaForMaskedLM",
        "RobertaForSequenceClassification",
        "XLMRobertaModel",
        "XLMRobertaForMaskedLM",
        "XLMRobertaForSequenceClassification",
        "CamembertModel",
        "CamembertForMaskedLM",
    ],
    model_types: &["roberta", "xlm-roberta", "camembert"],
    keys: |made| {
        let first = first_position(made.config)?;
        keys(made)?;
        let n_ctx = made.config.required_count("max_position_embeddings")?;
        made.replace_count("context_length", n_ctx.saturating_sub(first))
    },
    spec,
    names: Names { base_prefix: "roberta.", ..NAMES },
    source: |sources, slot| source(sources, slot, "roberta.", first_position(sources.config)?),
    promises: |_| Ok(encoder::promises(true)),
};

/// DistilBERT, which does not tell the texts of a pair apart.
pub(super) static DISTILBERT: Family = Family {
    gguf_name: "bert",
    checkpoint_classes: &["DistilBertModel", "DistilBertForMaskedLM"],
    model_types: &["distilbert"],
    keys: |made| {
        made.activation(&["activation"], "gelu", &["gelu"])?;
        if pooled::has_classifier(made.config)? {
            let what =
                "a classifier with relu, of a class of DistilBERT; that of the bert architecture has tanh";
            return Err(made.unsupported(what.to_owned()));
        }
        made.base(&Defaults {
            eps: 1e-12,
            n_layer_name: "n_layers",
            n_embd_name: "dim",
            n_head_name: "n_heads",
            n_ff_name: "hidden_dim",
            ..Defaults::LAYER
        })?;
        // Readers want to know of a kind, though there is no table of them.
        encoder::keys(made, 1)
    },
    spec,
    names: Names {
        base_prefix: "distilbert.",
        layer_prefix: "distilbert.transformer.layer.",
        other: &[
            (Role::TokenEmbd, "distilbert.embeddings.word_embeddings"),
            (Role::PositionEmbd, "distilbert.embeddings.position_embeddings"),
            (Role::TokenEmbdNorm, "distilbert.embeddings.LayerNorm"),
            (Role::AttnQ, "attention.q_lin"),
            (Role::AttnK, "attention.k_lin"),
            (Role::AttnV, "attention.v_lin"),
            (Role::AttnOutput, "attention.out_lin"),
            (Role::AttnOutputNorm, "sa_layer_norm"),
            (Role::FfnUp, "ffn.lin1"),
            (Role::FfnDown, "ffn.lin2"),
            (Role::LayerOutputNorm, "output_layer_norm"),
        ],
        left_out: &["vocab_"],
        ..Names::PLAIN
    },
    source: plain,
    promises: |_| Ok(encoder::promises(true)),
};

/// What layers and heads are called; the rest has the prefix of its class.
const NAMES: Names = Names {
    layer_prefix: "encoder.layer.",
    other: &[
        (Role::TokenEmbd, "embeddings.word_embeddings"),
        (Role::PositionEmbd, "embeddings.position_embeddings"),
        (Role::TokenTypes, "embeddings.token_type_embeddings"),
        (Role::TokenEmbdNorm, "embeddings.LayerNorm"),
        (Role::AttnQ, "attention.self.query"),
        (Role::AttnK, "attention.self.key"),
        (Role::AttnV, "attention.self.value"),
        (Role::AttnOutput, "attention.output.dense"),
        (Role::AttnOutputNorm, "attention.output.LayerNorm"),
        (Role::FfnUp, "intermediate.dense"),
        (Role::FfnDown, "output.dense"),
        (Role::LayerOutputNorm, "output.LayerNorm"),
    ],
    left_out: &["pooler.", "cls.", "lm_head.", "embeddings.position_ids"],
    ..Names::PLAIN
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "gelu", &["gelu"])?;
    made.refuse("is_decoder", false, true)?;
    made.refuse("add_cross_attention", false, true)?;
    if let Some(kind) = made.config.string("position_embedding_type")?.filter(|&kind| kind != "absolute") {
        return Err(made.unsupported(format!(
            "position_embedding_type \"{kind}\"; the bert architecture has absolute ones"
        )));
    }
    made.base(&Defaults { eps: 1e-12, ..Defaults::LAYER })?;
    encoder::keys(made, made.config.count("type_vocab_size")?.unwrap_or(2))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    let layer = |i| {
        let attention = AttentionSpec { rope: None, ..base.attention(i) };
        base.layer_of(attention, FfnSpec::Dense(base.ffn(i)))
    };
    let mut model = encoder::bert(&base, (0..base.n_layer).map(layer).collect())?;
    model.embed.n_positions = Some(model.n_ctx_train);
    model.ropes.clear();
    Ok(model)
}

/// The row of the first position.
fn first_position(config: &Config) -> Result<usize> {
    Ok(config.count("pad_token_id")?.unwrap_or(1).saturating_add(1))
}

/// Where tensors lie; `prefix` is in front of the names of a base model, and `first` the row of the first position.
pub(super) fn source(
    sources: &Sources<'_>,
    slot: &Slot,
    prefix: &str,
    first: usize,
) -> Result<Option<Source>> {
    let suffix = slot.id.suffix.name();
    let heads = match prefix {
        "bert." => [(Role::Cls, "bert.pooler.dense"), (Role::ClsOutput, "classifier")],
        _ => [(Role::Cls, "classifier.dense"), (Role::ClsOutput, "classifier.out_proj")],
    };
    if let Some(head) = encoder::head(sources, slot, &heads)? {
        return Ok(head);
    }
    let Some(stem) = sources.stem(slot) else { return Ok(None) };
    // Oldest files have the names of TensorFlow.
    let old = if suffix == "bias" { "beta" } else { "gamma" };
    let names = vec![format!("{prefix}{stem}.{suffix}"), format!("{prefix}{stem}.{old}")];
    let source = Source::whole(slot, names);
    let [n, n_embd] = slot.shape[..] else { return Ok(Some(source)) };
    if slot.id.role != Role::PositionEmbd || first == 0 {
        return Ok(Some(source));
    }
    let rows = RowMap::Strided { first, run: n, stride: n, pairs: None };
    Ok(Some(source.with_shape(&[n + first, n_embd]).with_rows(rows)))
}
