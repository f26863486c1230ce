//! `granite_swa`: Granite with windows in most layers, sinks in all, and layers that tell no positions apart.

use super::prelude::*;

/// The `granite_swa` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "granite_swa",
    checkpoint_classes: &["GraniteSWAForCausalLM"],
    model_types: &["granite_swa"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: |sources, slot| match slot.id.role {
        Role::AttnSinks => Ok(Some(Source::whole(slot, vec![sources.in_layer(slot, "self_attn.sinks")]))),
        _ => plain(sources, slot),
    },
    promises: super::gemma::promises,
};

/// Layers to one without a window, which is the first of them.
const PERIOD: usize = 4;

/// Which layers have rotary positions.
const ROTATED: &str = "attention.rope_pattern";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    super::granite::keys(made)?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    let windowed: Vec<bool> = match config.strings("layer_types")? {
        Some(types) => types.iter().map(|kind| *kind == "sliding_attention").collect(),
        None => (0..n_layer).map(|i| i % PERIOD != 0).collect(),
    };
    made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    made.put_count("attention.sliding_window", config.count("sliding_window")?.unwrap_or(128))?;
    if let Some(bases) = config.f32s("layer_rope_theta")? {
        let base = made.rope(&Defaults::RMS)?.freq_base;
        if let Some(other) = bases.iter().find(|&&other| other != 0.0 && other != base) {
            let what =
                format!("layer_rope_theta {other} beside {base}; the granite_swa architecture has one");
            return Err(made.unsupported(what));
        }
        if bases.contains(&0.0) {
            made.put(ROTATED, Value::Bools(bases.iter().map(|&base| base != 0.0).collect()));
        }
    } else if let Some(layers) = config.value("no_rope_layers").and_then(|layers| layers.as_array()) {
        // Ones are layers with a rotation, whatever the name says.
        made.put(ROTATED, Value::Bools(layers.iter().map(|has| has.as_u64() != Some(0)).collect()));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    if base.experts()?.is_some() {
        return Err(keys.unsupported("experts in the granite_swa architecture"));
    }
    let window = base.window()?;
    let windowed = keys.bools("attention.sliding_window_pattern", base.n_layer)?;
    let windowed = windowed.ok_or_else(|| keys.missing("attention.sliding_window_pattern"))?;
    let rotated = keys.bools(ROTATED, base.n_layer)?;
    let change = |i: usize, attention: &mut AttentionSpec| {
        attention.window = window.filter(|_| windowed[i]);
        attention.rope = attention.rope.filter(|_| rotated.as_ref().is_none_or(|rotated| rotated[i]));
        attention.has_sinks = true;
    };
    let layer = |i| base.layer(i, |attention| change(i, attention));
    super::granite::multiply(&keys, base.model((0..base.n_layer).map(layer).collect())?)
}
