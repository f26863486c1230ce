//! `dots3note`: the text part of Dots 3 Note: attention over latent vectors of one shape in layers that see all positions
//! and of another in those with windows, gated by head; dense layers first, then experts beside shared ones. The former
//! layers attend to positions that an indexer chooses: within as many as it chooses that is attention to all, and longer
//! texts are refused.

use super::deepseek2::{experts_of, source as latent_source};
use super::deepseek32::indexer_keys;
use super::prelude::*;
use crate::model::arch::rope_scaling::RopeConfig;

/// The `dots3note` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "dots3note",
    checkpoint_classes: &[
        "Dots3NoteForCausalLM",
        "Dots3NoteTextForCausalLM",
        "Dots3NoteForConditionalGeneration",
    ],
    model_types: &["dots3_note_text", "dots3_note"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQA, "self_attn.q_a_proj"),
            (Role::AttnQANorm, "self_attn.q_a_layernorm"),
            (Role::AttnQB, "self_attn.q_b_proj"),
            (Role::AttnKvAMqa, "self_attn.kv_a_proj_with_mqa"),
            (Role::AttnKvANorm, "self_attn.kv_a_layernorm"),
            (Role::AttnKNorm, "self_attn.k_rope_only_layernorm"),
            (Role::AttnGate, "self_attn.g_proj"),
            (Role::IndexerKNorm, "self_attn.indexer.k_norm"),
            (Role::IndexerProj, "self_attn.indexer.weights_proj"),
            (Role::IndexerAttnK, "self_attn.indexer.wk"),
            (Role::IndexerAttnQB, "self_attn.indexer.wq_b"),
        ],
        left_out: &["audio_encoder.", "audio_adapter."],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// The part of heads that is rotated is told otherwise.
const DEFAULTS: Defaults =
    Defaults { eps: 1e-5, freq_base: 8e7, has_kinds: true, partial: Partial::Allowed(1.0), ..Defaults::RMS };

/// The numbers of layers with windows, where a configuration is silent, beside what it calls them.
const OF_WINDOWS: [(&str, usize); 6] = [
    ("num_attention_heads", 64),
    ("q_lora_rank", 1024),
    ("kv_lora_rank", 1024),
    ("qk_nope_head_dim", 192),
    ("qk_rope_head_dim", 64),
    ("v_head_dim", 128),
];

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    for name in ["attention_gate_type", "swa_attention_gate_type"] {
        made.activation(&[name], "headwise", &["headwise"])?;
    }
    made.refuse("attention_bias", false, true)?;
    made.refuse("k_rope_only_layernorm", true, false)?;
    made.refuse("use_dsa", true, false)?;
    made.refuse("use_dynamic_rsf", false, true)?;
    let config = made.config;
    super::deepseek2::latent_keys(made, &DEFAULTS)?;
    made.replace("attention.head_count_kv", Value::U32(1));
    let windowed = windowed(made)?;
    let n = of_windows(made, &windowed)?;
    let shared_by_both = [("q_lora_rank", n[1]), ("qk_rope_head_dim", n[4])]
        .map(|(name, own)| (name, own, config.count(name)));
    for (name, own, of_others) in shared_by_both {
        if of_others? != Some(own) {
            let what = format!("{name} of layers with windows, {own}; it must be that of the others");
            return Err(made.unsupported(what));
        }
    }
    let n_head = config.required_count("num_attention_heads")?;
    made.replace_counts("attention.head_count", windowed.iter().map(|&is| if is { n[0] } else { n_head }))?;
    made.put_count("attention.sliding_window", window(config)?)?;
    made.put("attention.sliding_window_pattern", Value::Bools(windowed.clone()));
    made.put_count("attention.kv_lora_rank_swa", n[2])?;
    made.put_count("attention.key_length_swa", n[2].saturating_add(n[4]))?;
    made.put_count("attention.value_length_swa", n[2])?;
    made.put_count("attention.key_length_mla_swa", n[3].saturating_add(n[4]))?;
    made.put_count("attention.value_length_mla_swa", n[5])?;
    ropes(made)?;
    super::deepseek2::experts(made)?;
    shared_width(made)?;
    indexer_keys(made)?;
    made.put("attention.indexer.types", Value::Bools(windowed.iter().map(|is| !is).collect()));
    Ok(())
}

/// `[n_layer]`: whether each has a window.
fn windowed(made: &FromConfig<'_>) -> Result<Vec<bool>> {
    let n_layer = made.n_layer()?;
    let Some(kinds) = made.config.strings("layer_types")? else {
        return Ok((0..n_layer).map(|i| i >= 2 && i % 4 != 1).collect());
    };
    if kinds.len() != n_layer {
        return Err(made.unsupported(format!("layer_types of {} layers, of {n_layer}", kinds.len())));
    }
    Ok(kinds.iter().map(|kind| *kind == "sliding_attention").collect())
}

/// Positions that layers with windows see.
fn window(config: &Config) -> Result<usize> {
    Ok(config.count("sliding_window")?.or(config.count("sliding_window_size")?).unwrap_or(512))
}

/// The numbers of layers with windows, as transformers or the publisher writes them.
fn of_windows(made: &FromConfig<'_>, windowed: &[bool]) -> Result<[usize; 6]> {
    let config = made.config;
    let by_layer = config.object("per_layer_config")?;
    let first = windowed.iter().position(|&is| is).map(|i| i.to_string());
    let own = match (&by_layer, &first) {
        (Some(by_layer), Some(first)) => by_layer.object(first)?,
        _ => None,
    };
    let mut found = [0; 6];
    for (n, (name, usual)) in found.iter_mut().zip(OF_WINDOWS) {
        let of_layer = own.as_ref().map(|own| own.count(name)).transpose()?.flatten();
        let beside = config.count(&format!("swa_{name}"))?;
        // Of an entry for the layer, what it does not say is as in the others.
        let of_others = if own.is_some() { config.count(name)? } else { None };
        *n = of_layer.or(beside).or(of_others).unwrap_or(usual);
    }
    Ok(found)
}

/// Writes the bases of the rotary positions of both kinds of layers.
fn ropes(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    let n_ctx = config.required_count("max_position_embeddings")?;
    let all = config.object("rope_parameters")?;
    let of = |kind: &str| all.as_ref().map(|all| all.object(kind)).transpose().map(Option::flatten);
    let full = of("indexed_attention")?.or(of("full_attention")?);
    for (key, own, beside) in [
        ("rope.freq_base", full, config.f32("rope_theta")?.unwrap_or(DEFAULTS.freq_base)),
        ("rope.freq_base_swa", of("sliding_attention")?, config.f32("swa_rope_theta")?.unwrap_or(5e4)),
    ] {
        let read = own.map(|own| RopeConfig::read_from(config, Some(&own), n_ctx, &DEFAULTS)).transpose()?;
        if read.as_ref().is_some_and(RopeConfig::is_stretched) {
            return Err(
                made.unsupported("scaled rotary positions, which the dots3note architecture lacks".into())
            );
        }
        made.replace(key, Value::F32(read.map_or(beside, |read| read.freq_base)));
    }
    Ok(())
}

/// Refuses shared experts of another width than the others'.
fn shared_width(made: &FromConfig<'_>) -> Result<()> {
    let config = made.config;
    let name = made.first_of(&["moe_shared_expert_intermediate_size", "shared_experts_intermediate_size"]);
    let n_ff = config.required_count("moe_intermediate_size")?;
    match config.count(name)?.filter(|&own| own != n_ff) {
        None => Ok(()),
        Some(own) => Err(made.unsupported(format!("{name} {own}; it must be moe_intermediate_size, {n_ff}"))),
    }
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let n_rot = keys.required_count("rope.dimension_count")?;
    base.rope.n_dims = n_rot;
    let (window, windowed) = (base.window()?, base.windowed(0)?);
    let of_kind = |is_windowed: bool| {
        let name = |stem: &str| if is_windowed { format!("{stem}_swa") } else { stem.to_owned() };
        let head_dim = keys.required_count(&name("attention.key_length_mla"))?;
        Ok::<_, crate::Error>(MlaSpec {
            kv_lora_rank: keys.required_count(&name("attention.kv_lora_rank"))?,
            head_dim_nope: head_dim.saturating_sub(n_rot),
            head_dim_v: keys.required_count(&name("attention.value_length_mla"))?,
            rope: Some(RopeUse { index: usize::from(is_windowed), order: base.order }),
            scale: 1.0 / (head_dim as f32).sqrt(),
            norm: base.norm,
            key_norm: Some(base.norm),
            gate: Some(AttentionGate::Head),
            window: window.filter(|_| is_windowed),
            ..super::kimi_linear::latent(&base, n_rot)?
        })
    };
    let kinds = [of_kind(false)?, of_kind(true)?];
    let indexer = IndexerSpec {
        n_head: keys.required_count("attention.indexer.head_count")?,
        head_dim: keys.required_count("attention.indexer.key_length")?,
        n_pool: None,
    };
    let (n_dense, experts) = (base.n_dense()?, experts_of(&base, Scoring::Sigmoid)?);
    let layer = |i: usize| {
        let ffn = match &experts {
            Some(experts) if i >= n_dense => FfnSpec::Experts(experts.clone()),
            _ => FfnSpec::Gated(base.ffn(i)),
        };
        let indexer = Some(indexer).filter(|_| !windowed[i]);
        let mla = MlaSpec { n_head: base.n_head[i], indexer, ..kinds[usize::from(windowed[i])] };
        LayerSpec { mixer: MixerSpec::Mla(mla), ..base.layer_of(base.attention(i), ffn) }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(base.rope.freq_base);
    model.ropes.push(RopeSpec { freq_base, ..base.rope.clone() });
    let top_k = keys.required_count("attention.indexer.top_k")?;
    model.max_ctx = Some(top_k);
    model.n_ctx_train = model.n_ctx_train.min(top_k);
    Ok(model)
}

/// What is made of latent vectors gets them times the root of how much wider the stream is: norms hold it.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let is_scaled = sources.config.bool("apply_mla_qkv_lora_rescale")?.unwrap_or(true);
    match slot.id.role {
        Role::AttnQANorm | Role::AttnKvANorm if is_scaled => {
            let times = (sources.spec.n_embd as f64 / slot.shape[0] as f64).sqrt() as f32;
            Ok(plain(sources, slot)?.map(|source| source.with_values(ValueMap::Times(times))))
        }
        _ => latent_source(sources, slot),
    }
}
