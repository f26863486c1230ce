//! `granite_swa`: Granite with windows in most layers, sinks in all, and layers that tell no positions apart; dense parts,
//! or experts, with or without a shared one, whose gate and rest are one matrix.

use super::prelude::*;

/// The `granite_swa` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "granite_swa",
    checkpoint_classes: &["GraniteSWAForCausalLM", "GraniteMoeSWAForCausalLM"],
    model_types: &["granite_swa", "granitemoe_swa"],
    keys,
    spec,
    names: Names {
        is_permuted: true,
        other: &[
            (Role::FfnUpShexp, "shared_mlp.input_linear"),
            (Role::FfnDownShexp, "shared_mlp.output_linear"),
        ],
        ..Names::PLAIN
    },
    source: |sources, slot| match slot.id.role {
        Role::AttnSinks => Ok(Some(Source::whole(slot, vec![sources.in_layer(slot, "self_attn.sinks")]))),
        Role::FfnGateInp => {
            let names =
                ["router.layer.weight", "router.weight"].map(|name| format!("block_sparse_moe.{name}"));
            Ok(Some(Source::whole(slot, names.map(|name| sources.in_layer(slot, &name)).to_vec())))
        }
        Role::FfnGateExps | Role::FfnUpExps | Role::FfnDownExps => {
            let source = super::granitemoe::source(sources, slot)?;
            let own = if slot.id.role == Role::FfnDownExps { "down_proj" } else { "gate_up_proj" };
            let own = sources.in_layer(slot, &format!("block_sparse_moe.experts.{own}"));
            Ok(source.map(|old| Source::Either(old.clone().with_name(&own).into(), old.into())))
        }
        _ => plain(sources, slot),
    },
    promises: super::gemma::promises,
};

/// Layers to one without a window, which is the first of them.
const PERIOD: usize = 4;

/// The width of the shared expert.
const SHARED: &str = "expert_shared_feed_forward_length";

/// Which layers have rotary positions.
const ROTATED: &str = "attention.rope_pattern";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    super::granite::keys(made)?;
    let config = made.config;
    if config.count("num_local_experts")?.is_some_and(|n| n > 0) {
        made.experts(&["num_local_experts"])?;
        made.optional_count(SHARED, "shared_intermediate_size")?;
    }
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
    let mut experts = base.experts()?;
    if let Some(experts) = &mut experts {
        experts.shared = base.shared(keys.count(SHARED)?.unwrap_or(0), false);
        experts.shared.iter_mut().for_each(|shared| shared.shape.is_fused = true);
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
    let layer = |i| {
        let mut attention = base.attention(i);
        change(i, &mut attention);
        let ffn = match &experts {
            Some(experts) => FfnSpec::Experts(experts.clone()),
            None => FfnSpec::Gated(base.ffn(i)),
        };
        base.layer_of(attention, ffn)
    };
    super::granite::multiply(&keys, base.model((0..base.n_layer).map(layer).collect())?)
}
