//! `mimo2`: MiMo V2 Flash: windows in most layers, which have sinks, key-value heads and a rotary base of their
//! own; values shorter than keys, and scaled; dense layers first, then experts chosen by sigmoids.

use super::prelude::*;

/// The `mimo2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mimo2",
    checkpoint_classes: &["MiMoV2FlashForCausalLM"],
    model_types: &["mimo_v2_flash"],
    keys,
    spec,
    names: Names { left_out: &["mtp."], ..Names::PLAIN },
    source,
    promises: |config| Ok(Promises { output_bias: Promise::Absent, ..promises(config)? }),
};

const DEFAULTS: Defaults = Defaults {
    eps: 1e-5,
    head_dim: Some(192),
    freq_base: 5e6,
    has_kinds: true,
    partial: Partial::Allowed(0.334),
    ..Defaults::RMS
};

/// What multiplies values.
const VALUE_SCALE: &str = "attention.value_scale";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("norm_topk_prob", true, false)?;
    made.refuse("add_full_attention_sink_bias", false, true)?;
    let config = made.config;
    for (own, other) in [
        ("swa_head_dim", "head_dim"),
        ("swa_v_head_dim", "v_head_dim"),
        ("swa_num_attention_heads", "num_attention_heads"),
    ] {
        if let Some(n) = config.count(own)?.filter(|&n| config.count(other).is_ok_and(|of| of != Some(n))) {
            return Err(made.unsupported(format!("{own} {n}, of another number than {other}")));
        }
    }
    if config.count("n_group")?.is_some_and(|n| n > 1) {
        return Err(made.unsupported("n_group; the experts of the mimo2 architecture have no groups".into()));
    }
    let eps_name = made.first_of(&["rms_norm_eps", "layernorm_epsilon"]);
    made.base(&Defaults { eps_name, ..DEFAULTS })?;
    made.replace_count("attention.value_length", config.count("v_head_dim")?.unwrap_or(128))?;
    if let Some(scale) = config.f32("attention_value_scale")? {
        made.put(VALUE_SCALE, Value::F32(scale));
    }
    let n_layer = made.n_layer()?;
    let windowed = windowed(made, n_layer)?;
    let n = config.required_count("num_key_value_heads")?;
    let own = config.count("swa_num_key_value_heads")?.unwrap_or(n.saturating_mul(2));
    made.replace_counts("attention.head_count_kv", windowed.iter().map(|&is| if is { own } else { n }))?;
    // Files of the first release count the positions before a query's own.
    let window = match config.count("sliding_window_size")? {
        Some(before) => before.saturating_add(1),
        None => config.count("sliding_window")?.unwrap_or(129),
    };
    made.put_count("attention.sliding_window", window)?;
    let base = match made.rope_of_windows(&DEFAULTS)? {
        Some(own) => {
            let head_dim = made.head_dim(&DEFAULTS)?;
            let (n_own, n_rot) = (own.n_dims(head_dim), made.rope(&DEFAULTS)?.n_dims(head_dim));
            if n_own != n_rot {
                return Err(made.unsupported(format!(
                    "rotary positions of {n_own} elements of a head in layers with windows, and of {n_rot} in the others"
                )));
            }
            own.freq_base
        }
        None => config.f32("swa_rope_theta")?.unwrap_or(1e4),
    };
    made.put("rope.freq_base_swa", Value::F32(base));
    made.experts(&["n_routed_experts", "num_local_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    made.put_count("expert_gating_func", 2)?;
    made.f32_or("expert_weights_scale", "routed_scaling_factor", 1.0)?;
    for (i, &is_windowed) in windowed.iter().enumerate() {
        if is_windowed && config.bool("add_swa_attention_sink_bias")?.unwrap_or(true) {
            made.will_have(sinks(i));
        }
        if has_experts(config, i)? {
            made.will_have(router(i));
        }
    }
    made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    Ok(())
}

/// Which layers have windows.
fn windowed(made: &FromConfig<'_>, n_layer: usize) -> Result<Vec<bool>> {
    let config = made.config;
    let windowed: Vec<bool> = match (config.strings("layer_types")?, config.f32s("hybrid_layer_pattern")?) {
        (Some(kinds), _) => kinds.iter().map(|kind| *kind == "sliding_attention").collect(),
        (None, Some(pattern)) => pattern.iter().map(|&is| is == 1.0).collect(),
        (None, None) => (0..n_layer).map(|i| i > 0 && !(i + 1).is_multiple_of(6)).collect(),
    };
    if windowed.len() != n_layer {
        let what = format!("layer_types or hybrid_layer_pattern of {} layers, of {n_layer}", windowed.len());
        return Err(crate::Error::malformed(config.path(), what));
    }
    Ok(windowed)
}

fn has_experts(config: &Config, i: usize) -> Result<bool> {
    Ok(match (config.strings("mlp_layer_types")?, config.f32s("moe_layer_freq")?) {
        (Some(kinds), _) => kinds.get(i).is_some_and(|kind| *kind == "sparse"),
        (None, Some(pattern)) => pattern.get(i).is_some_and(|&is| is == 1.0),
        (None, None) => i > 0,
    })
}

fn sinks(i: usize) -> String {
    format!("blk.{i}.attn_sinks.weight")
}

/// The tensor whose presence says that a layer has experts.
pub(super) fn router(i: usize) -> String {
    format!("blk.{i}.ffn_gate_inp.weight")
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(1)?);
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scoring = base.scoring(Scoring::Sigmoid)?;
    experts.router.has_choice_bias = true;
    experts.router.scale = base.expert_scale()?;
    let value_scale = keys.f32(VALUE_SCALE)?.unwrap_or(1.0);
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        if windowed[i] {
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
        attention.has_sinks = keys.has_tensor(&sinks(i));
        let ffn = match keys.has_tensor(&router(i)) {
            true => FfnSpec::Experts(experts.clone()),
            false => FfnSpec::Gated(base.ffn(i)),
        };
        // What attention adds is linear in the values.
        LayerSpec { mixer_scale: value_scale, ..base.layer_of(attention, ffn) }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(base.rope.freq_base);
    model.ropes.push(RopeSpec {
        freq_base,
        scaling: RopeScaling::None,
        factors: RopeFactors::Never,
        ..base.rope.clone()
    });
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let names = match slot.id.role {
        Role::AttnSinks => ["self_attn.sinks", "self_attn.attention_sink_bias"],
        Role::ExpProbs => ["mlp.gate.e_score_correction_bias"; 2],
        _ => return plain(sources, slot),
    };
    Ok(Some(Source::whole(slot, names.iter().map(|name| sources.in_layer(slot, name)).collect())))
}
