//! `llama4`: Llama 4, text: chunks of attention in three layers of four, whose queries and keys are normed behind
//! the rotation; the fourth tells no positions apart and its scores grow with the position; every layer or every other one
//! has experts beside a shared one, of which the chosen weighs its input.

use super::prelude::*;

/// The `llama4` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "llama4",
    checkpoint_classes: &["Llama4ForCausalLM", "Llama4ForConditionalGeneration"],
    model_types: &["llama4", "llama4_text"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGate, "feed_forward.gate_proj"),
            (Role::FfnUp, "feed_forward.up_proj"),
            (Role::FfnDown, "feed_forward.down_proj"),
            (Role::FfnGateInp, "feed_forward.router"),
            (Role::FfnGateShexp, "feed_forward.shared_expert.gate_proj"),
            (Role::FfnUpShexp, "feed_forward.shared_expert.up_proj"),
            (Role::FfnDownShexp, "feed_forward.shared_expert.down_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// Layers to one without chunks and positions.
const PERIOD: usize = 4;

/// The length of a chunk that files do not say.
const CHUNK: usize = 8192;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, freq_base: 5e5, n_ff_name: "intermediate_size_mlp", ..Defaults::RMS })?;
    made.experts(&["num_local_experts"])?;
    made.count("expert_feed_forward_length", "intermediate_size")?;
    made.count("interleave_moe_layer_step", "interleave_moe_layer_step")?;
    let config = made.config;
    let layers = config.value("no_rope_layers").and_then(|layers| layers.as_array());
    let rotated: Vec<bool> = layers.into_iter().flatten().map(|has| has.as_u64() != Some(0)).collect();
    if let Some(kinds) = config.strings("layer_types")? {
        let is_chunked = |i: usize| rotated.get(i).copied().unwrap_or(i % PERIOD < PERIOD - 1);
        if kinds.iter().enumerate().any(|(i, kind)| (*kind == "chunked_attention") != is_chunked(i)) {
            return Err(made.unsupported(
                "layer_types other than no_rope_layers, or every fourth layer of full_attention; in the llama4 \
                 architecture layers have chunks where they have rotary positions"
                    .into(),
            ));
        }
    }
    if !rotated.iter().enumerate().all(|(i, has)| *has == (i % PERIOD < PERIOD - 1)) {
        made.put("attention.sliding_window_pattern", Value::Bools(rotated));
    }
    let chunk = config.count("attention_chunk_size")?.unwrap_or(CHUNK);
    if chunk != CHUNK {
        made.put_count("attention.chunk_length", chunk)?;
    }
    let has_norm = config.bool("use_qk_norm")?.unwrap_or(true);
    made.put("attention.qk_norm", Value::Bool(has_norm));
    if config.value("attn_temperature_tuning").is_none_or(|value| value != false) {
        made.f32_or("attention.temperature_scale", "attn_scale", 0.1)?;
        let floor = config.f32("floor_scale")?.unwrap_or(8192.0);
        made.put_count("attention.temperature_length", floor as usize)?;
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router =
        RouterSpec { scoring: Scoring::Sigmoid, is_normalised: false, weighs_input: true, ..experts.router };
    experts.shared = base.shared(experts.expert.n_ff, false);
    let step = keys.count("interleave_moe_layer_step")?.unwrap_or(1).max(1);
    // All but Maverick, with 128 experts, norm heads.
    let has_norm = keys.bool("attention.qk_norm")?.unwrap_or(experts.n_expert != 128);
    let qk_norm = QkNormSpec {
        norm: NormSpec { has_weight: false, ..base.norm },
        is_after_rope: true,
        ..base.qk_norm()
    };
    let chunk = keys.count("attention.chunk_length")?.unwrap_or(CHUNK);
    let temperature = TemperatureSpec {
        beta: keys.f32("attention.temperature_scale")?.unwrap_or(0.1),
        original_context: keys.count("attention.temperature_length")?.unwrap_or(CHUNK),
        offset: 1,
    };
    let windowed = base.windowed(PERIOD)?;
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        if windowed[i] {
            attention.window = Some(Window::Chunked(chunk));
            attention.qk_norm = has_norm.then_some(qk_norm);
        } else {
            attention.rope = None;
            attention.temperature = Some(temperature);
        }
        let has_experts = (i + 1).is_multiple_of(step);
        let ffn = if has_experts { FfnSpec::Experts(experts.clone()) } else { FfnSpec::Gated(base.ffn(i)) };
        base.layer_of(attention, ffn)
    };
    base.model((0..base.n_layer).map(layer).collect())
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    turned(sources, slot, "feed_forward.experts")
}

/// Where tensors lie if the matrices of what a layer calls `experts` are turned; gate and up lie side by side.
pub(super) fn turned(sources: &Sources<'_>, slot: &Slot, experts: &str) -> Result<Option<Source>> {
    let (name, first, n_parts) = match slot.id.role {
        Role::FfnGateExps => ("gate_up_proj", 0, 2),
        Role::FfnUpExps => ("gate_up_proj", 1, 2),
        Role::FfnDownExps => ("down_proj", 0, 1),
        _ => return plain(sources, slot),
    };
    let [n_expert, n_out, n_in] = slot.shape[..] else { return Ok(None) };
    let n_cols = n_parts * n_out;
    let rows = RowMap::Columns { n_out, n_cols, first: first * n_out, step: 1, skipped: 0 };
    let name = sources.in_layer(slot, &format!("{experts}.{name}"));
    Ok(Some(Source::whole(slot, vec![name]).with_shape(&[n_expert, n_in, n_cols]).with_rows(rows)))
}
