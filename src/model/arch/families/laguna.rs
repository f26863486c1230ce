//! `laguna`: Laguna: windows in most layers, which have rotary positions and heads of their own; the outputs of heads are
//! gated, and experts chosen by sigmoids beside a shared one follow a dense layer.

use super::prelude::*;

/// The `laguna` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "laguna",
    checkpoint_classes: &["LagunaForCausalLM"],
    model_types: &["laguna"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnGate, "self_attn.g_proj"),
            (Role::FfnGateShexp, "mlp.shared_expert.gate_proj"),
            (Role::FfnUpShexp, "mlp.shared_expert.up_proj"),
            (Role::FfnDownShexp, "mlp.shared_expert.down_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// From one layer without a window to the next.
const PERIOD: usize = 4;

/// What it assumes.
pub(super) const DEFAULTS: Defaults = Defaults {
    head_dim: Some(128),
    freq_base: 5e5,
    has_kinds: true,
    partial: Partial::Allowed(1.0),
    ..Defaults::RMS
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("attention_bias", false, true)?;
    made.refuse("moe_apply_router_weight_on_input", false, true)?;
    let config = made.config;
    let is_of_heads = match config.value("gating") {
        None => true,
        Some(gating) => gating.as_bool() == Some(true) || gating.as_str() == Some("per-head"),
    };
    if !is_of_heads {
        return Err(made.unsupported("gating of elements; it must be \"per-head\"".into()));
    }
    if config.f32("moe_router_logit_softcapping")?.unwrap_or(0.0) != 0.0 {
        return Err(made.unsupported("moe_router_logit_softcapping".into()));
    }
    made.base(&DEFAULTS)?;
    if let Some(list) = config.value("num_attention_heads_per_layer").and_then(|list| list.as_array()) {
        let count = |n: &serde_json::Value| n.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        made.replace_counts("attention.head_count", list.iter().map(count))?;
    }
    windows(made)?;
    super::deepseek2::experts(made)?;
    made.count("expert_shared_feed_forward_length", "shared_expert_intermediate_size")?;
    made.replace_count("expert_shared_count", 1)?;
    let scale = config.f32("moe_routed_scaling_factor")?.unwrap_or(1.0);
    made.replace("expert_weights_scale", Value::F32(scale));
    Ok(())
}

/// Writes which layers have windows, and the rotary positions that those have.
pub(super) fn windows(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    if let Some(window) = config.count("sliding_window")?.filter(|&n| n > 0) {
        made.put_count("attention.sliding_window", window)?;
        let n_layer = made.n_layer()?;
        let windowed: Vec<bool> = match config.strings("layer_types")? {
            Some(types) => types.iter().map(|kind| *kind == "sliding_attention").collect(),
            None => vec![false; n_layer],
        };
        made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    }
    if let Some(own) = made.rope_of_windows(&DEFAULTS)? {
        made.put("rope.freq_base_swa", Value::F32(own.freq_base));
        made.put_count("rope.dimension_count_swa", own.n_dims(made.head_dim(&DEFAULTS)?))?;
    }
    Ok(())
}

/// The rotary positions of layers with windows.
pub(super) fn rope_of_windows(base: &Base<'_>) -> Result<RopeSpec> {
    Ok(RopeSpec {
        n_dims: base.keys.count("rope.dimension_count_swa")?.unwrap_or(base.rope.n_dims),
        freq_base: base.keys.f32("rope.freq_base_swa")?.unwrap_or(base.rope.freq_base),
        scaling: RopeScaling::None,
        factors: RopeFactors::Never,
    })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let window = base.window()?;
    // The first of every period sees all.
    let windowed = base.windowed_behind_first(PERIOD)?;
    let mut model = super::dots1::spec_with(&base, Scoring::Sigmoid, |i, attention| {
        attention.qk_norm = Some(base.qk_norm());
        attention.gate = Some(AttentionGate::Head);
        attention.has_softplus_gates = true;
        if window.is_some() && windowed[i] {
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
    })?;
    let n_shared = keys.count("expert_shared_feed_forward_length")?;
    for layer in &mut model.layers {
        if let (FfnSpec::Experts(experts), Some(n_ff)) = (&mut layer.ffn, n_shared) {
            experts.shared = base.shared(n_ff, false);
        }
    }
    model.ropes.push(rope_of_windows(&base)?);
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "mlp.experts.e_score_correction_bias");
        return Ok(Some(Source::whole(slot, vec![name])));
    }
    plain(sources, slot)
}
