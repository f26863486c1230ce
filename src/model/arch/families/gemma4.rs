//! `gemma4`: Gemma 4, text: layers with a window and layers without have heads of different length; the last
//! layers use the keys and values of others; values are normed; a second embedding adds to every layer of the
//! small ones, and the large ones may have experts beside the feed-forward part.

use super::prelude::*;
use crate::model::spec::PerLayerSpec;

/// The `gemma4` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gemma4",
    checkpoint_classes: &[
        "Gemma4ForCausalLM",
        "Gemma4ForConditionalGeneration",
        "Gemma4UnifiedForCausalLM",
        "Gemma4UnifiedForConditionalGeneration",
    ],
    model_types: &["gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"],
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
            (Role::FfnPostNorm1, "post_feedforward_layernorm_1"),
            (Role::FfnPreNorm2, "pre_feedforward_layernorm_2"),
            (Role::FfnPostNorm2, "post_feedforward_layernorm_2"),
            (Role::FfnGateInp, "router.proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: super::gemma::promises,
};

const DEFAULTS: Defaults = Defaults {
    head_dim: Some(256),
    freq_base: 1e6,
    has_kinds: true,
    partial: Partial::Allowed(1.0),
    ..Defaults::RMS
};

/// What a configuration says of the layers without a window, which differ: the length of a head, and the
/// number of key-value heads.
fn full_layers(config: &Config) -> Result<(Option<usize>, Option<usize>)> {
    let types = config.strings("layer_types")?.unwrap_or_default();
    let full = types.iter().position(|kind| *kind == "full_attention").unwrap_or(0);
    let own = match config.object("per_layer_config")? {
        Some(layers) => layers.object(&full.to_string())?,
        None => None,
    };
    let of = |name: &str, global: &str| {
        let of_layer = own.as_ref().map(|own| own.count(name)).transpose()?.flatten();
        Ok::<_, crate::Error>(config.count(global)?.or(of_layer))
    };
    Ok((of("head_dim", "global_head_dim")?, of("num_key_value_heads", "num_global_key_value_heads")?))
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_activation"], "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
    made.base(&DEFAULTS)?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    let windowed: Vec<bool> = match config.strings("layer_types")? {
        Some(types) => types.iter().map(|kind| *kind == "sliding_attention").collect(),
        None => (0..n_layer).map(|i| i % 6 < 5).collect(),
    };
    let (head_dim, n_head_kv) = full_layers(config)?;
    let of_windows = made.head_dim(&DEFAULTS)?;
    let head_dim = head_dim.unwrap_or(of_windows);
    made.replace_count("attention.key_length", head_dim)?;
    made.replace_count("attention.value_length", head_dim)?;
    made.put_count("attention.key_length_swa", of_windows)?;
    made.put_count("attention.value_length_swa", of_windows)?;
    made.replace_count("rope.dimension_count", head_dim)?;
    made.put_count("rope.dimension_count_swa", of_windows)?;
    let own = config.count("num_key_value_heads")?.unwrap_or(1);
    if let Some(n) = n_head_kv.filter(|&n| n != own) {
        let counts = windowed.iter().map(|has| if *has { own } else { n });
        made.replace_counts("attention.head_count_kv", counts)?;
    }
    let n_shared = config.count("num_kv_shared_layers")?.unwrap_or(0);
    made.put_count("attention.shared_kv_layers", n_shared)?;
    if config.bool("use_double_wide_mlp")?.unwrap_or(false) && n_shared > 0 {
        let n_ff = config.required_count("intermediate_size")?;
        let n_own = n_layer.saturating_sub(n_shared);
        let counts = (0..n_layer).map(|i| if i < n_own { n_ff } else { n_ff.saturating_mul(2) });
        made.replace_counts("feed_forward_length", counts)?;
    }
    made.put_count(
        "embedding_length_per_layer_input",
        config.count("hidden_size_per_layer_input")?.unwrap_or(0),
    )?;
    made.put("attention.sliding_window_pattern", Value::Bools(windowed));
    made.count("attention.sliding_window", "sliding_window")?;
    super::gemma::softcap(made, "final_logit_softcapping", 0.0)?;
    let base = made.rope_of_windows(&DEFAULTS)?.map_or(1e4, |own| own.freq_base);
    made.put("rope.freq_base_swa", Value::F32(base));
    let full = made.rope(&DEFAULTS)?;
    if full.llama3.is_some() || full.longrope.is_some() {
        return Err(made.unsupported(
            "rotary frequencies with divisors of their own; this architecture divides those that it does not rotate"
                .into(),
        ));
    }
    if config.bool("enable_moe_block")?.unwrap_or(false) {
        made.count("expert_count", "num_experts")?;
        made.count("expert_used_count", "top_k_experts")?;
        made.count(
            "expert_feed_forward_length",
            made.first_of(&["moe_intermediate_size", "expert_intermediate_size"]),
        )?;
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::GeluTanh)?;
    let (window, windowed) = (base.window()?, base.windowed(6)?);
    let head_dim = keys.count("attention.key_length_swa")?.unwrap_or(base.head_dim_k);
    let n_own = base.n_layer - keys.count("attention.shared_kv_layers")?.unwrap_or(0).min(base.n_layer - 1);
    let experts = base.experts()?;
    let n_per_layer = keys.count("embedding_length_per_layer_input")?.unwrap_or(0);
    let no_weight = NormSpec { has_weight: false, ..base.norm };
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        if windowed[i] {
            (attention.head_dim_k, attention.head_dim_v) = (head_dim, head_dim);
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
        attention.scale = 1.0;
        attention.qk_norm = Some(base.qk_norm());
        attention.v_norm = Some(no_weight);
        if i >= n_own {
            // The last layer of its kind that has its own.
            attention.shares_kv_with = (0..n_own).rev().find(|&j| windowed[j] == windowed[i]);
        }
        let ffn = match &experts {
            None => FfnSpec::Gated(base.ffn(i)),
            Some(experts) => FfnSpec::GatedAndExperts(base.ffn(i), experts.clone(), base.norm),
        };
        let mut layer = base.layer_of(attention, ffn);
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_post_norm = Some(base.norm);
        layer.stored_scale = Some(StoredScale::Stream);
        layer.per_layer = (n_per_layer > 0).then_some(PerLayerInputSpec {
            n: n_per_layer,
            activation: base.activation,
            norm: base.norm,
        });
        layer
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.push(RopeSpec {
        n_dims: keys.count("rope.dimension_count_swa")?.unwrap_or(head_dim),
        freq_base: keys.f32("rope.freq_base_swa")?.unwrap_or(1e4),
        scaling: RopeScaling::None,
        factors: RopeFactors::Never,
    });
    model.embed.scale = (base.n_embd as f32).sqrt();
    model.embed.per_layer =
        (n_per_layer > 0).then_some(PerLayerSpec { n_embd: n_per_layer, norm: base.norm });
    model.head.softcap = super::gemma::softcap_of(&keys, "final_logit_softcapping", 30.0)?;
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let name = match (slot.id.role, slot.id.suffix) {
        (Role::RopeFreqs, _) => {
            return proportional(sources, slot).map(|divisors| Some(Source::Computed(divisors)));
        }
        (Role::LayerOutputScale, _) => "layer_scalar",
        (Role::FfnGateInp, Suffix::Scale) => "router.scale",
        (Role::FfnDownExps, Suffix::Scale) => "router.per_expert_scale",
        (Role::FfnGateUpExps, _) => "experts.gate_up_proj",
        (Role::FfnDownExps, _) => "experts.down_proj",
        (Role::FfnGateExps | Role::FfnUpExps, _) => return Ok(None),
        _ => return plain(sources, slot),
    };
    Ok(Some(Source::whole(slot, vec![sources.in_layer(slot, name)])))
}

/// Of the layers without a window a part of each head is rotated, with the frequencies of the whole: the others
/// are divided to nothing.
fn proportional(sources: &Sources<'_>, slot: &Slot) -> Result<Vec<f32>> {
    const NOTHING: f32 = 1e30;
    let all = sources.config.object("rope_parameters")?;
    let full = all.map(|all| all.object("full_attention")).transpose()?.flatten();
    let part = full.map(|full| full.f32("partial_rotary_factor")).transpose()?.flatten().unwrap_or(1.0);
    let n = slot.shape[0];
    let n_rotated = (2.0 * n as f32 * part / 2.0) as usize;
    Ok((0..n).map(|i| if i < n_rotated { 1.0 } else { NOTHING }).collect())
}
