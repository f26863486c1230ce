//! `gte`: Alibaba's GTE 1.5 and mGTE, and Snowflake's Arctic Embed 2 M: BERT with rotary positions and gated
//! feed-forward parts, of whose biases only that behind them is there (Zhang et al. 2024, "mGTE"). Its code is published
//! beside its weights, as `NewModel`. llama.cpp has no such architecture: the name is this program's own.

use super::prelude::*;

/// The `gte` family, as its authors' code has it.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gte",
    checkpoint_classes: &["NewModel", "NewForMaskedLM", "NewForSequenceClassification"],
    model_types: &["new"],
    keys: |made| keys(made, &DEFAULTS),
    spec,
    names: Names { base_prefix: "new.", ..NAMES },
    source: |sources, slot| source(sources, slot, "new."),
    promises,
};

/// As transformers and Snowflake have it, under another name.
pub(super) static RENAMED: Family = Family {
    gguf_name: "gte",
    checkpoint_classes: &["GteModel", "GteForMaskedLM", "GteForSequenceClassification"],
    model_types: &["gte"],
    keys: |made| keys(made, &Defaults { freq_base: 1.6e5, ..DEFAULTS }),
    spec,
    names: Names { base_prefix: "gte.", ..NAMES },
    source: |sources, slot| source(sources, slot, "gte."),
    promises,
};

/// What layers are called; the rest has the prefix of its class.
const NAMES: Names = Names {
    layer_prefix: "encoder.layer.",
    other: &[
        (Role::TokenEmbd, "embeddings.word_embeddings"),
        (Role::TokenTypes, "embeddings.token_type_embeddings"),
        (Role::TokenEmbdNorm, "embeddings.LayerNorm"),
        (Role::AttnQ, "attention.q_proj"),
        (Role::AttnK, "attention.k_proj"),
        (Role::AttnV, "attention.v_proj"),
        (Role::AttnQkv, "attention.qkv_proj"),
        (Role::AttnOutput, "attention.o_proj"),
        (Role::AttnOutputNorm, "attn_ln"),
        (Role::FfnUp, "mlp.up_gate_proj"),
        (Role::FfnGate, "mlp.up_gate_proj"),
        (Role::FfnDown, "mlp.down_proj"),
        (Role::LayerOutputNorm, "mlp_ln"),
    ],
    left_out: &["pooler.", "lm_head.", "classifier.", "embeddings.position_ids"],
    ..Names::PLAIN
};

const DEFAULTS: Defaults = Defaults { eps: 1e-12, has_ntk: true, ..Defaults::LAYER };

/// The gates and what they multiply have no bias.
fn promises(_: &Config) -> Result<Promises> {
    Ok(Promises { mlp_bias: Promise::Open, ..encoder::promises(true) })
}

fn keys(made: &mut FromConfig<'_>, defaults: &Defaults) -> Result<()> {
    made.activation(&["hidden_act"], "gelu", &["gelu"])?;
    made.activation(&["position_embedding_type"], "rope", &["rope"])?;
    made.activation(&["layer_norm_type"], "layer_norm", &["layer_norm"])?;
    scores(made)?;
    made.base(defaults)?;
    stretch(made, defaults)?;
    encoder::keys(made, made.config.count("type_vocab_size")?.unwrap_or(1))
}

/// Refuses scores that are multiplied by `ln n / ln n_ctx`, of a text of `n` tokens and the context trained for. Where that
/// is at least one, texts within the context are as without.
fn scores(made: &mut FromConfig<'_>) -> Result<()> {
    if made.config.bool("logn_attention_scale")? != Some(true) {
        return Ok(());
    }
    if made.config.bool("logn_attention_clip1")? != Some(true) {
        return Err(made.unsupported(
            "logn_attention_scale without logn_attention_clip1: GGUF has no key for scores that depend on the length of \
             the text"
                .into(),
        ));
    }
    made.note("logn_attention_scale changes nothing up to the context trained for, and is left out".into());
    Ok(())
}

/// Writes the rotary positions of a context that was made `factor` times as long without further training: the base
/// times `factor`, and all positions divided by `factor^(2 / n)`, of `n` rotated elements (Su 2023, "NTK-RoPE", equation
/// 6). GGUF has no type for it, and says the same with a base and linear scaling.
fn stretch(made: &mut FromConfig<'_>, defaults: &Defaults) -> Result<()> {
    let Some(scaling) = made.rope_parameters()? else { return Ok(()) };
    let kind = match scaling.string("type")? {
        Some(kind) => Some(kind),
        None => scaling.string("rope_type")?,
    };
    if kind != Some("ntk") {
        return Ok(());
    }
    let factor = scaling.required_f32("factor")?;
    if !(factor.is_finite() && factor >= 1.0) {
        let what = format!("{}: factor {factor}; it must be 1 or more", scaling.described());
        return Err(made.unsupported(what));
    }
    if let Some(mixed) = scaling.f32("mixed_b")? {
        let what = format!("{}: mixed_b {mixed}; the gte architecture has none", scaling.described());
        return Err(made.unsupported(what));
    }
    let base = made.rope(defaults)?.freq_base;
    let n_dims = made.head_dim(defaults)?.max(1) as f64;
    let divisor = libm::pow(factor.into(), 2.0 / n_dims) as f32;
    made.replace("rope.freq_base", Value::F32(base * factor));
    made.put("rope.scaling.type", Value::String("linear".into()));
    made.put("rope.scaling.factor", Value::F32(divisor));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::GeluErf)?;
    encoder::bert(&base, (0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}

/// Where tensors lie; `prefix` is in front of the names of a base model.
fn source(sources: &Sources<'_>, slot: &Slot, prefix: &str) -> Result<Option<Source>> {
    let pooler = format!("{prefix}pooler.dense");
    let heads = [(Role::Cls, pooler.as_str()), (Role::ClsOutput, "classifier")];
    if let Some(head) = encoder::head(sources, slot, &heads)? {
        return Ok(head);
    }
    let is_packed = sources.config.bool("pack_qkv")?.unwrap_or(true);
    if is_packed && matches!(slot.id.role, Role::AttnQ | Role::AttnK | Role::AttnV)
        || !is_packed && slot.id.role == Role::AttnQkv
    {
        return Ok(None);
    }
    let Some(stem) = sources.stem(slot) else { return Ok(None) };
    let source = Source::whole(slot, vec![format!("{prefix}{stem}.{}", slot.id.suffix.name())]);
    // One matrix has the rows of both, those of the gates behind.
    let (first, n_ff, n_embd) = match (slot.id.role, &slot.shape[..]) {
        (Role::FfnUp, &[n_ff, n_embd]) => (0, n_ff, n_embd),
        (Role::FfnGate, &[n_ff, n_embd]) => (n_ff, n_ff, n_embd),
        (Role::FfnUp | Role::FfnGate, _) => return Ok(None),
        _ => return Ok(Some(source)),
    };
    let rows = RowMap::Strided { first, run: n_ff, stride: n_ff, pairs: None };
    Ok(Some(source.with_shape(&[2 * n_ff, n_embd]).with_rows(rows)))
}
