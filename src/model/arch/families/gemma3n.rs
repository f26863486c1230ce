//! `gemma3n`: Gemma 3n, text: several streams of which a layer computes with one (AltUp), a narrow part beside attention
//! (LAuReL), a second embedding that adds to every layer, gates of which only the greatest count in the first layers, and
//! the keys and values of others in the last ones.

use super::prelude::*;
use crate::model::spec::PerLayerSpec;

/// Layers to one without a window.
const PERIOD: usize = 5;

/// The rank of the narrow part: readers take no other, and files do not say it.
const LAUREL_RANK: usize = 64;

/// The layers whose gates are cut off where a file is silent, and where: nineteen of twenty are dropped.
const N_CUT: usize = 10;
const CUTOFF: f32 = 1.644_853_6;

/// The `gemma3n` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gemma3n",
    checkpoint_classes: &["Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"],
    model_types: &["gemma3n", "gemma3n_text"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::PerLayerTokenEmbd, "model.embed_tokens_per_layer"),
            (Role::PerLayerModelProj, "model.per_layer_model_projection"),
            (Role::PerLayerProjNorm, "model.per_layer_projection_norm"),
            (Role::PerLayerInpGate, "per_layer_input_gate"),
            (Role::PerLayerProj, "per_layer_projection"),
            (Role::PerLayerPostNorm, "post_per_layer_input_norm"),
            (Role::AttnPostNorm, "post_attention_layernorm"),
            (Role::FfnNorm, "pre_feedforward_layernorm"),
            (Role::FfnPostNorm, "post_feedforward_layernorm"),
            (Role::AltUpCorrectCoef, "altup.correction_coefs"),
            (Role::AltUpPredictCoef, "altup.prediction_coefs"),
            (Role::AltUpRouter, "altup.modality_router"),
            (Role::AltUpRouterNorm, "altup.router_norm"),
            (Role::LaurelLeft, "laurel.linear_left"),
            (Role::LaurelRight, "laurel.linear_right"),
            (Role::LaurelPostNorm, "laurel.post_laurel_norm"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: super::gemma::promises,
};

const DEFAULTS: Defaults =
    Defaults { head_dim: Some(256), freq_base: 1e6, has_kinds: true, n_ff_name: "", ..Defaults::RMS };

/// Layers with keys and values of their own, where a file does not say.
const N_OWN: usize = 20;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_activation"], "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
    made.refuse("altup_correct_scale", true, false)?;
    made.refuse("attention_bias", false, true)?;
    made.base(&DEFAULTS)?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    let rank = config.count("laurel_rank")?.unwrap_or(LAUREL_RANK);
    if rank != LAUREL_RANK {
        return Err(made.unsupported(format!("laurel_rank {rank}; it must be {LAUREL_RANK}")));
    }
    match config.value("intermediate_size").and_then(|list| list.as_array()) {
        None => drop(made.count("feed_forward_length", "intermediate_size")?),
        Some(list) => {
            let width = |n: &serde_json::Value| n.as_u64().and_then(|n| usize::try_from(n).ok());
            made.replace_counts("feed_forward_length", list.iter().map(|n| width(n).unwrap_or(0)))?;
        }
    }
    let windowed: Vec<bool> = match config.strings("layer_types")? {
        Some(types) => types.iter().map(|kind| *kind == "sliding_attention").collect(),
        None => (0..n_layer).map(|i| i % PERIOD < PERIOD - 1).collect(),
    };
    made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    made.count("attention.sliding_window", "sliding_window")?;
    let base = match made.rope_of_windows(&DEFAULTS)? {
        Some(own) => own.freq_base,
        None => config.f32("rope_local_base_freq")?.unwrap_or(1e4),
    };
    made.put("rope.freq_base_swa", Value::F32(base));
    made.put_count("attention.shared_kv_layers", config.count("num_kv_shared_layers")?.unwrap_or(15))?;
    made.put_count(
        "embedding_length_per_layer_input",
        config.count("hidden_size_per_layer_input")?.unwrap_or(256),
    )?;
    made.put_count("altup.num_inputs", config.count("altup_num_inputs")?.unwrap_or(4))?;
    made.put_count("altup.active_idx", config.count("altup_active_idx")?.unwrap_or(0))?;
    let dropped = match config.f32s("activation_sparsity_pattern")? {
        Some(list) => list,
        None => (0..n_layer).map(|i| if i < N_CUT { 0.95 } else { 0.0 }).collect(),
    };
    let cutoffs = dropped.into_iter().map(|part| quantile(part.into()) as f32).collect();
    made.put("activation_sparsity_scale", Value::F32s(cutoffs));
    super::gemma::softcap(made, "final_logit_softcapping", 30.0)?;
    Ok(())
}

/// The number below which the part `p` of a normal distribution lies: minus infinity for none of it.
fn quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let below = |x: f64| libm::erfc(-x / core::f64::consts::SQRT_2) / 2.0;
    // The function rises, and 40 standard deviations hold all that a float can tell apart.
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if below(middle) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::GeluTanh)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let n_own = match keys.count("attention.shared_kv_layers")? {
        Some(n_shared) => base.n_layer - n_shared.min(base.n_layer - 1),
        None => base.n_layer.min(N_OWN),
    };
    let n_per_layer = keys.count("embedding_length_per_layer_input")?.unwrap_or(256);
    let cutoffs = keys.f32s("activation_sparsity_scale", base.n_layer)?;
    let cutoff = |i: usize| match &cutoffs {
        Some(cutoffs) => Some(cutoffs[i]).filter(|&cutoff| cutoff > f32::NEG_INFINITY),
        None => (i < N_CUT).then_some(CUTOFF),
    };
    let altup = AltUpSpec {
        n_stream: keys.count("altup.num_inputs")?.unwrap_or(4),
        active: keys.count("altup.active_idx")?.unwrap_or(0),
        laurel_rank: LAUREL_RANK,
        norm: base.norm,
    };
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        if windowed[i] {
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
        attention.scale = 1.0;
        attention.qk_norm = Some(base.qk_norm());
        attention.v_norm = Some(NormSpec { has_weight: false, ..base.norm });
        if i >= n_own {
            // The last layer of its kind that has its own.
            attention.shares_kv_with = (0..n_own).rev().find(|&j| windowed[j] == windowed[i]);
        }
        let ffn = FfnShape { cutoff: cutoff(i), ..base.ffn(i) };
        let mut layer = base.layer_of(attention, FfnSpec::Gated(ffn));
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_post_norm = Some(base.norm);
        layer.per_layer =
            Some(PerLayerInputSpec { n: n_per_layer, activation: base.activation, norm: base.norm });
        layer.altup = Some(altup);
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(1e4);
    model.ropes.push(RopeSpec {
        freq_base,
        scaling: RopeScaling::None,
        factors: RopeFactors::Never,
        ..base.rope.clone()
    });
    model.embed.scale = (base.n_embd as f32).sqrt();
    model.embed.per_layer = Some(PerLayerSpec { n_embd: n_per_layer, norm: base.norm });
    model.embed.altup = Some(altup);
    model.head.softcap = super::gemma::softcap_of(&keys, "final_logit_softcapping", 30.0)?;
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let matrices = |name: &str| {
        let names = (0..slot.shape[0]).map(|k| format!("model.{name}.{k}.weight"));
        Ok(Some(Source::stacked(slot, names)))
    };
    match slot.id.role {
        Role::AltUpProj => matrices("altup_projections"),
        Role::AltUpUnembdProj => matrices("altup_unembed_projections"),
        Role::AltUpCorrectScale => {
            Ok(Some(Source::whole(slot, vec![sources.in_layer(slot, "altup.correct_output_scale")])))
        }
        Role::PerLayerTokenEmbd => {
            let source = plain(sources, slot)?;
            let n = sources.config.count("vocab_size_per_layer_input")?.unwrap_or(262_144);
            Ok(source.map(|source| first_row_for_others(source, n.min(slot.shape[0]), slot)))
        }
        _ => plain(sources, slot),
    }
}

/// The second embedding has `n` rows; the tokens behind, of images and sounds, have the first.
fn first_row_for_others(source: Source, n: usize, slot: &Slot) -> Source {
    let Source::Pieces(pieces, values) = source else { return source };
    let first = RowMap::Strided { first: 0, run: 1, stride: 0, pairs: None };
    let parts = pieces.into_iter().flat_map(|piece| {
        let piece = Piece { shape: vec![n, slot.shape[1]], n_rows: n, ..piece };
        let others = Piece { n_rows: slot.shape[0] - n, rows: first, ..piece.clone() };
        [piece, others]
    });
    Source::Pieces(parts.filter(|piece| piece.n_rows > 0).collect(), values)
}
