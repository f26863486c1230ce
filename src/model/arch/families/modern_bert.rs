//! `modern-bert`: rotary positions, norms in front of parts, two layers with a window around each position to one
//! without, which have rotary bases of their own; gates and the rest of feed-forward parts in one matrix.

use super::prelude::*;

/// A layer without a window comes first of so many.
const PERIOD: usize = 3;

/// The `modern-bert` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "modern-bert",
    checkpoint_classes: &["ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification"],
    model_types: &["modernbert"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TokenEmbd, "model.embeddings.tok_embeddings"),
            (Role::TokenEmbdNorm, "model.embeddings.norm"),
            (Role::OutputNorm, "model.final_norm"),
            (Role::AttnNorm, "attn_norm"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attn.Wqkv"),
            (Role::AttnOutput, "attn.Wo"),
            (Role::FfnNorm, "mlp_norm"),
            (Role::FfnUp, "mlp.Wi"),
            (Role::FfnDown, "mlp.Wo"),
        ],
        left_out: &["head.", "decoder."],
        ..Names::PLAIN
    },
    source: |sources, slot| {
        let heads =
            [(Role::Cls, "head.dense"), (Role::ClsNorm, "head.norm"), (Role::ClsOutput, "classifier")];
        match encoder::head(sources, slot, &heads)? {
            Some(source) => Ok(source),
            None => plain(sources, slot),
        }
    },
    promises,
};

const DEFAULTS: Defaults =
    Defaults { eps_name: "norm_eps", freq_base: 1.6e5, has_kinds: true, ..Defaults::LAYER };

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_activation"], "gelu", &["gelu", "silu"])?;
    made.activation(&["classifier_activation"], "gelu", &["gelu"])?;
    made.base(&DEFAULTS)?;
    if made.rope(&DEFAULTS)?.is_stretched() {
        // Readers scale the positions of all layers.
        return Err(made.unsupported(
            "scaled rotary positions; readers would scale those of layers with windows too".into(),
        ));
    }
    if let Some(base) = made.config.f32("global_rope_theta")? {
        made.replace("rope.freq_base", Value::F32(base));
    }
    let base = match made.rope_of_windows(&DEFAULTS)? {
        Some(own) => own.freq_base,
        None => made.config.f32("local_rope_theta")?.unwrap_or(1e4),
    };
    made.put("rope.freq_base_swa", Value::F32(base));
    made.put_count("attention.sliding_window", made.config.count("local_attention")?.unwrap_or(128))?;
    match made.config.strings("layer_types")? {
        Some(kinds) => {
            let windowed = kinds.iter().map(|kind| *kind == "sliding_attention").collect();
            made.put("attention.sliding_window_pattern", Value::Bools(windowed));
        }
        None => {
            let period = made.config.count("global_attn_every_n_layers")?.unwrap_or(PERIOD);
            made.put_count("attention.sliding_window_pattern", period)?;
        }
    }
    let activation = made.config.string("hidden_activation")?.unwrap_or("gelu").to_owned();
    made.put("hidden_activation", Value::String(activation));
    encoder::keys(made, 0)?;
    if pooled::has_classifier(made.config)? {
        let is_mean = made.config.string("classifier_pooling")? == Some("mean");
        let pooling = if is_mean { Pooling::Mean } else { Pooling::Cls };
        made.put("classifier.pooling_type", Value::U32(pooling.code()));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let activation = match keys.string("hidden_activation")? {
        None | Some("gelu") => Gate::GeluErf,
        Some("silu") => Gate::Silu,
        Some(other) => return Err(keys.unsupported(format!("hidden_activation {other:?}"))),
    };
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, activation)?;
    let (window, windowed) = (base.window()?, base.windowed_behind_first(PERIOD)?);
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        if windowed[i] {
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
        let mut layer = base.layer_of(attention, FfnSpec::Gated(FfnShape { is_fused: true, ..base.ffn(i) }));
        // The norm of the embedding is right in front of the first.
        layer.mixer_norm = layer.mixer_norm.filter(|_| i > 0);
        layer
    };
    let mut model = encoder::model(&base, (0..base.n_layer).map(layer).collect())?;
    let mut of_windows = base.rope.clone();
    of_windows.freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(of_windows.freq_base);
    model.ropes.push(of_windows);
    model.embed.norm = Some(base.norm);
    if let Some(classifier) = &mut model.pooled.classifier {
        classifier.activation = ClassifierActivation::Gelu;
        classifier.norm = Some(base.norm);
        let code = keys.count("classifier.pooling_type")?;
        // Files that do not say it are of a model with the mean.
        classifier.pooling = code.and_then(Pooling::from_code).unwrap_or(Pooling::Mean);
    }
    Ok(model)
}
