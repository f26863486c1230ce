//! `step35`: Step 3.5 and 3.7: windows in most layers, which have heads and a rotary base of their own and rotate whole
//! heads, the others half of each; the outputs of heads are gated; dense layers first, then experts chosen by sigmoids
//! beside a shared one, with gates that are bounded in some layers.

use super::maple::{bounds, silu};
use super::mimo2::router;
use super::prelude::*;
use crate::model::arch::rope_scaling::RopeConfig;

/// The `step35` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "step35",
    checkpoint_classes: &["Step3p5ForCausalLM", "Step3p7ForConditionalGeneration"],
    model_types: &["step3p5", "step3p7"],
    keys,
    spec,
    names: Names { other: &[(Role::AttnGate, "self_attn.g_proj")], ..Names::PLAIN },
    source,
    promises: |config| Ok(Promises { output_bias: Promise::Absent, ..promises(config)? }),
};

const DEFAULTS: Defaults =
    Defaults { eps: 1e-5, has_kinds: true, partial: Partial::Allowed(1.0), ..Defaults::RMS };

/// The bounds of gates, of experts and of all other parts: GGUF's keys, and the configuration's names.
const BOUNDS: [(&str, &str); 2] =
    [("swiglu_clamp_exp", "swiglu_limits"), ("swiglu_clamp_shexp", "swiglu_limits_shared")];

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("norm_expert_weight", true, false)?;
    made.refuse("use_head_wise_attn_gate", true, false)?;
    made.refuse_number("query_pre_attn_scalar", made.head_dim(&DEFAULTS)? as f32)?;
    let config = made.config;
    let n_head_kv_name = made.first_of(&["num_key_value_heads", "num_attention_groups"]);
    let n_ctx_name = made.first_of(&["max_position_embeddings", "max_seq_len"]);
    made.base(&Defaults { n_head_kv_name, n_ctx_name, ..DEFAULTS })?;
    let n_layer = made.n_layer()?;
    made.further_predictions()?;
    // Lists also have the layers that predict further tokens.
    let n_all = n_layer.saturating_add(config.count("num_nextn_predict_layers")?.unwrap_or(0).min(n_layer));
    let kinds = config.strings("layer_types")?.unwrap_or_default();
    let windowed: Vec<bool> =
        (0..n_all).map(|i| kinds.get(i).is_some_and(|kind| *kind == "sliding_attention")).collect();
    rope(made, &windowed)?;
    heads(made, &windowed, n_head_kv_name)?;
    made.count("attention.sliding_window", "sliding_window")?;
    made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    experts(made, n_layer)?;
    for (key, name) in BOUNDS {
        if let Some(list) = config.value(name).and_then(|list| list.as_array()) {
            let bound = |i: usize| list.get(i).and_then(|bound| bound.as_f64()).unwrap_or(0.0) as f32;
            made.put(key, Value::F32s((0..n_all).map(bound).collect()));
        }
    }
    Ok(())
}

/// Writes the rotary positions of both kinds of layers.
fn rope(made: &mut FromConfig<'_>, windowed: &[bool]) -> Result<()> {
    let config = made.config;
    let head_dim = made.head_dim(&DEFAULTS)?;
    let n_ctx_name = made.first_of(&["max_position_embeddings", "max_seq_len"]);
    let n_ctx = config.required_count(n_ctx_name)?;
    let full =
        config.object("rope_parameters")?.map(|all| all.object("full_attention")).transpose()?.flatten();
    let full = full.map(|full| RopeConfig::read_from(config, Some(&full), n_ctx, &DEFAULTS)).transpose()?;
    let own = made.rope_of_windows(&Defaults { n_ctx_name, ..DEFAULTS })?;
    let by_layer = |name: &str, is_windowed: bool| {
        let Some(list) = config.value(name).filter(|value| value.is_array()) else { return Ok(None) };
        let i = windowed.iter().position(|&is| is == is_windowed);
        let number = |i: usize| list.get(i).and_then(|number| number.as_f64());
        match i.map(number) {
            None => Ok(None),
            Some(Some(number)) => Ok(Some(number as f32)),
            Some(None) => Err(crate::Error::malformed(
                config.path(),
                format!("{name} should be a number for each layer"),
            )),
        }
    };
    for (is_windowed, of, expected) in [(false, &full, 0.5), (true, &own, 1.0)] {
        let beside = by_layer("partial_rotary_factors", is_windowed)?;
        let part = of.as_ref().and_then(|of| of.partial).or(beside).unwrap_or(expected);
        if part != expected && windowed.contains(&is_windowed) {
            let what = format!("a partial_rotary_factor of {part}; it must be {expected} in such layers");
            return Err(made.unsupported(what));
        }
    }
    // Readers take half of it for layers without windows.
    made.replace_count("rope.dimension_count", head_dim)?;
    let base = own.map(|own| own.freq_base).or(by_layer("rope_theta", true)?);
    if let Some(base) = base {
        made.put("rope.freq_base_swa", Value::F32(base));
    }
    Ok(())
}

/// Writes the heads of every layer.
fn heads(made: &mut FromConfig<'_>, windowed: &[bool], n_head_kv_name: &str) -> Result<()> {
    let config = made.config;
    let other = config.object("attention_other_setting")?;
    let of_other = |name: &str| other.as_ref().map_or(Ok(None), |other| other.count(name));
    let n = [config.required_count("num_attention_heads")?, config.required_count(n_head_kv_name)?];
    let own =
        config.count("num_sliding_attention_heads")?.or(of_other("num_attention_heads")?).unwrap_or(n[0]);
    let own = [own, of_other("num_attention_groups")?.unwrap_or(n[1])];
    for (i, key) in ["attention.head_count", "attention.head_count_kv"].into_iter().enumerate() {
        made.replace_counts(key, windowed.iter().map(|&is| if is { own[i] } else { n[i] }))?;
    }
    Ok(())
}

/// Writes what experts there are, and which layers have some.
fn experts(made: &mut FromConfig<'_>, n_layer: usize) -> Result<()> {
    let config = made.config;
    made.count("expert_count", made.first_of(&["n_routed_experts", "moe_num_experts", "num_local_experts"]))?;
    made.count("expert_used_count", made.first_of(&["num_experts_per_tok", "moe_top_k"]))?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    let shared = made.first_of(&["share_expert_dim", "share_expert_dims"]);
    made.count("expert_shared_feed_forward_length", shared)?;
    made.f32_or("expert_weights_scale", "moe_router_scaling_factor", 1.0)?;
    made.put("expert_weights_norm", Value::Bool(true));
    made.put_count("expert_gating_func", 2)?;
    let listed: Option<Vec<usize>> = match config.value("moe_layers_enum") {
        Some(serde_json::Value::String(text)) => {
            Some(text.split(',').filter_map(|number| number.trim().parse().ok()).collect())
        }
        Some(list) => list.as_array().map(|list| {
            list.iter().filter_map(|number| number.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
        }),
        None => None,
    };
    let kinds = config.strings("mlp_layer_types")?;
    let has_experts = |i: usize| match (&kinds, &listed) {
        (Some(kinds), _) => kinds.get(i).is_some_and(|kind| *kind == "sparse"),
        (None, Some(listed)) => listed.contains(&i),
        (None, None) => i >= 3,
    };
    let n_dense = (0..n_layer).take_while(|&i| !has_experts(i)).count();
    made.put_count("leading_dense_block_count", n_dense)?;
    (0..n_layer).filter(|&i| has_experts(i)).for_each(|i| made.will_have(router(i)));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let own = RopeSpec {
        n_dims: keys.count("rope.dimension_count_swa")?.unwrap_or(base.rope.n_dims),
        freq_base: keys.f32("rope.freq_base_swa")?.unwrap_or(base.rope.freq_base),
        scaling: RopeScaling::None,
        factors: RopeFactors::Never,
    };
    if base.rope.factors == RopeFactors::Fixed {
        base.rope.factors = RopeFactors::FirstOf { n: base.rope.n_dims / 2 };
    }
    base.rope.n_dims /= 2;
    let (window, windowed) = (base.window()?, base.windowed(1)?);
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scoring = base.scoring(Scoring::Sigmoid)?;
    experts.router.has_choice_bias = true;
    experts.router.is_normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.router.scale = base.expert_scale()?;
    let n_shared = keys.count("expert_shared_feed_forward_length")?.unwrap_or(0);
    experts.shared = base.shared(n_shared, false);
    let [of_experts, of_others] = [bounds(&base, BOUNDS[0].0)?, bounds(&base, BOUNDS[1].0)?];
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        attention.gate = Some(AttentionGate::Head);
        if windowed[i] {
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
        let bounded = silu(of_others[i], false);
        let ffn = if keys.has_tensor(&router(i)) {
            let mut experts = experts.clone();
            experts.expert.activation = silu(of_experts[i], false);
            experts.shared.iter_mut().for_each(|shared| shared.shape.activation = bounded);
            FfnSpec::Experts(experts)
        } else {
            FfnSpec::Gated(FfnShape { activation: bounded, ..base.ffn(i) })
        };
        base.layer_of(attention, ffn)
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.push(own);
    Ok(model)
}

/// Norms are stored less one; files on the Hub stack experts, and name their parts otherwise than transformers.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let named =
        |names: &[&str]| Source::whole(slot, names.iter().map(|name| sources.in_layer(slot, name)).collect());
    Ok(Some(match slot.id.role {
        // MLX has added the one.
        Role::AttnNorm | Role::AttnQNorm | Role::AttnKNorm | Role::FfnNorm | Role::OutputNorm
            if sources.dialect == Dialect::Transformers =>
        {
            return Ok(plain(sources, slot)?.map(|source| source.with_values(ValueMap::Plus(1.0))));
        }
        Role::FfnGateInp => named(&["moe.gate.weight", "mlp.gate.weight"]),
        Role::ExpProbs => named(&["moe.router_bias", "mlp.gate.e_score_correction_bias"]),
        Role::FfnGateExps => named(&["moe.gate_proj.weight", "mlp.experts.gate_proj"]),
        Role::FfnUpExps => named(&["moe.up_proj.weight", "mlp.experts.up_proj"]),
        Role::FfnDownExps => named(&["moe.down_proj.weight", "mlp.experts.down_proj"]),
        Role::FfnGateShexp => {
            named(&["share_expert.gate_proj.weight", "mlp.shared_experts.gate_proj.weight"])
        }
        Role::FfnUpShexp => named(&["share_expert.up_proj.weight", "mlp.shared_experts.up_proj.weight"]),
        Role::FfnDownShexp => {
            named(&["share_expert.down_proj.weight", "mlp.shared_experts.down_proj.weight"])
        }
        _ => return plain(sources, slot),
    }))
}
