//! `gemma`: Gemma 1, and what later Gemmas have in common with it: norms that store their difference from
//! one, a scaled embedding that is the output matrix too, GELU gates.

use super::prelude::*;

/// The `gemma` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gemma",
    checkpoint_classes: &["GemmaForCausalLM", "GemmaModel"],
    model_types: &["gemma"],
    keys,
    spec,
    names: Names::PLAIN,
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    // The files of the first release say "gelu", and transformers takes it for the form with a tangent.
    let names = ["hidden_activation", "hidden_act"];
    made.activation(&names, "gelu_pytorch_tanh", &["gelu_pytorch_tanh", "gelu"])?;
    made.base(&Defaults { head_dim: Some(256), ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::GeluTanh)?;
    let mut model = base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())?;
    model.embed.scale = (base.n_embd as f32).sqrt();
    Ok(model)
}

/// Where tensors lie in the checkpoints of Gemmas: norms are one less than they mean.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let source = plain(sources, slot)?;
    let is_norm = slot.shape.len() == 1 && slot.id.suffix == Suffix::Weight;
    Ok(source.map(|source| if is_norm { source.with_values(ValueMap::Plus(1.0)) } else { source }))
}

/// The embedding is the output matrix where a configuration is silent.
pub(super) fn promises(config: &Config) -> Result<Promises> {
    let is_tied = Some(config.bool("tie_word_embeddings")?.unwrap_or(true));
    Ok(Promises { is_tied, ..super::prelude::promises(config)? })
}

/// Writes what multiplies scores, where that is not the root of a head's length, or the model has as many layers as
/// the one that is known to differ: `wide`.
pub(super) fn scale(made: &mut FromConfig<'_>, defaults: &Defaults, wide: usize) -> Result<()> {
    let head_dim = made.head_dim(defaults)?;
    let is_wide = made.n_layer()? == wide;
    let scalar = made.config.f32("query_pre_attn_scalar")?;
    if let Some(scalar) = scalar.filter(|&scalar| is_wide || scalar != head_dim as f32) {
        made.put("attention.scale", Value::F32(1.0 / scalar.sqrt()));
    }
    Ok(())
}

/// Writes the soft cap that configuration and GGUF call `name`: 0 for none, which readers would take for the models' own.
/// `default` is that of configurations without a word of it.
pub(super) fn softcap(made: &mut FromConfig<'_>, name: &'static str, default: f32) -> Result<()> {
    let is_null = made.config.keys().any(|key| key == name) && made.config.value(name).is_none();
    made.f32_or(name, name, if is_null { 0.0 } else { default })?;
    Ok(())
}

/// The soft cap under `key`, where a file says none the models' own.
pub(super) fn softcap_of(keys: &Keys<'_>, key: &str, own: f32) -> Result<Option<f32>> {
    Ok(Some(keys.f32(key)?.unwrap_or(own)).filter(|&cap| cap > 0.0))
}

/// A period that is spelled out, as by EXAONE 4: LLLG.
fn spelled_windows(config: &Config) -> Option<Vec<bool>> {
    let pattern = config.value("sliding_window_pattern")?.as_str()?;
    let is_spelled = !pattern.is_empty() && pattern.bytes().all(|c| matches!(c, b'L' | b'G'));
    is_spelled.then(|| pattern.bytes().map(|c| c == b'L').collect())
}

/// Writes which layers have windows, where that is not one in `period` without.
pub(super) fn windows(made: &mut FromConfig<'_>, period: usize) -> Result<()> {
    let windowed: Vec<bool> = match made.config.strings("layer_types")? {
        Some(types) => types.iter().map(|kind| *kind == "sliding_attention").collect(),
        None => {
            let one_period: Vec<bool> = match spelled_windows(made.config) {
                Some(spelled) => spelled,
                None => {
                    let own = made.config.count("sliding_window_pattern")?;
                    let own = own.filter(|&n| n > 0).unwrap_or(period);
                    (0..own).map(|i| i < own - 1).collect()
                }
            };
            one_period.into_iter().cycle().take(made.n_layer()?).collect()
        }
    };
    let is_plain = windowed.iter().enumerate().all(|(i, has)| *has == (i % period < period - 1));
    if !is_plain {
        made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    }
    Ok(())
}
