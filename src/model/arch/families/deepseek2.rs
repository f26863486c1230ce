//! `deepseek2`: DeepSeek V2, V3 and R1, Kimi K2, GLM 4.7 Flash, Youtu: attention over latent vectors; dense layers
//! first, then experts beside shared ones.

use super::prelude::*;
use crate::model::arch::rope_scaling::{LOG_MULTIPLIER, cosines_with, yarn_temperature};

/// The `deepseek2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "deepseek2",
    checkpoint_classes: &[
        "DeepseekV2ForCausalLM",
        "DeepseekV3ForCausalLM",
        "KimiVLForConditionalGeneration",
        "Glm4MoeLiteForCausalLM",
        "YoutuForCausalLM",
    ],
    model_types: &["deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite", "youtu"],
    keys,
    spec,
    names: NAMES,
    source,
    promises,
};

/// What checkpoints call the matrices of latent vectors.
pub(super) const NAMES: Names = Names {
    other: &[
        (Role::AttnQA, "self_attn.q_a_proj"),
        (Role::AttnQANorm, "self_attn.q_a_layernorm"),
        (Role::AttnQB, "self_attn.q_b_proj"),
        (Role::AttnKvAMqa, "self_attn.kv_a_proj_with_mqa"),
        (Role::AttnKvANorm, "self_attn.kv_a_layernorm"),
        (Role::IndexerKNorm, "self_attn.indexer.k_norm"),
        (Role::IndexerProj, "self_attn.indexer.weights_proj"),
        (Role::IndexerAttnK, "self_attn.indexer.wk"),
        (Role::IndexerAttnQB, "self_attn.indexer.wq_b"),
    ],
    ..Names::PLAIN
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    keys_with(made, &Defaults::RMS)
}

/// Writes the keys of a family that differs from this by `defaults`.
pub(super) fn keys_with(made: &mut FromConfig<'_>, defaults: &Defaults) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("rope_interleave", true, false)?;
    latent_keys(made, defaults)?;
    made.replace("attention.head_count_kv", Value::U32(1));
    made.further_predictions()?;
    experts(made)?;
    temperature(made, defaults)
}

/// Writes what YaRN multiplies scores by. Files have one number for it, from which readers also make what cosines and
/// sines are multiplied by.
fn temperature(made: &mut FromConfig<'_>, defaults: &Defaults) -> Result<()> {
    let Some(parameters) = made.rope_parameters()? else { return Ok(()) };
    let Some(all) = parameters.f32("mscale_all_dim")?.filter(|&all| all != 0.0) else { return Ok(()) };
    let is_told = match made.rope(defaults)?.scaling {
        RopeScaling::Yarn { factor, attn_factor, .. } => {
            let told = cosines_with(made.arch, factor, all);
            (attn_factor * yarn_temperature(factor, 1.0) - told).abs() <= 1e-5
        }
        // transformers multiplies scores by it in every kind of scaling.
        _ => {
            let kind = parameters.string("rope_type")?.or(parameters.string("type")?);
            kind.is_none_or(|kind| kind == "default")
        }
    };
    if !is_told {
        return Err(made.unsupported(format!(
            "{}: scores, and cosines and sines, are multiplied by numbers of which GGUF files of the {} architecture \
             have one; they can say yarn with mscale equal to mscale_all_dim",
            parameters.described(),
            made.arch
        )));
    }
    // A tenth, as files of this architecture have it.
    made.replace_attention_factor(LOG_MULTIPLIER, 0.1 * all);
    Ok(())
}

/// Writes the keys that every family has, and those of latent vectors.
pub(super) fn latent_keys(made: &mut FromConfig<'_>, defaults: &Defaults) -> Result<()> {
    let n_rot = made.config.required_count("qk_rope_head_dim")?;
    let rank = made.config.required_count("kv_lora_rank")?;
    let nope = made.config.required_count("qk_nope_head_dim")?;
    made.base(&Defaults { head_dim: Some(n_rot), ..*defaults })?;
    made.replace_count("attention.key_length", rank.saturating_add(n_rot))?;
    made.replace_count("attention.value_length", rank)?;
    made.replace_count("rope.dimension_count", n_rot)?;
    made.put_count("attention.key_length_mla", nope.saturating_add(n_rot))?;
    made.count("attention.value_length_mla", "v_head_dim")?;
    made.optional_count("attention.q_lora_rank", "q_lora_rank")?;
    made.put_count("attention.kv_lora_rank", rank)
}

/// Writes the keys of experts, which configurations call differently.
pub(super) fn experts(made: &mut FromConfig<'_>) -> Result<()> {
    let n_layer = made.n_layer()?;
    let n_dense = match made.config.strings("mlp_layer_types")? {
        Some(types) => types.iter().take_while(|kind| **kind == "dense").count(),
        None => {
            let name = made.first_of(&["first_k_dense_replace", "moe_layer_start_index"]);
            made.config.count(name)?.unwrap_or(0)
        }
    };
    let n_expert =
        made.first_of(&["n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"]);
    let has_experts = made.config.count(n_expert)?.is_some();
    made.put_count("leading_dense_block_count", if has_experts { n_dense } else { n_layer })?;
    if !has_experts {
        // llama.cpp asks for them of dense models as well.
        made.count(
            "expert_feed_forward_length",
            made.first_of(&["moe_intermediate_size", "intermediate_size"]),
        )?;
        return made.put_count("expert_shared_count", 0);
    }
    made.count("expert_count", n_expert)?;
    made.count("expert_used_count", made.first_of(&["num_experts_per_tok", "moe_k"]))?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    let n_shared = made.first_of(&["n_shared_experts", "num_shared_experts", "moe_num_shared_experts"]);
    let n_shared = made.config.count(n_shared)?.unwrap_or(0);
    made.put_count("expert_shared_count", n_shared)?;
    made.f32_or("expert_weights_scale", "routed_scaling_factor", 1.0)?;
    made.normalised(true)?;
    let function = made.config.string(made.first_of(&["scoring_func", "score_function"]))?;
    // V2 alone has a softmax without saying so.
    let is_v2 = made.config.string("model_type")? == Some("deepseek_v2");
    let is_softmax = function.map_or(is_v2, |function| function == "softmax");
    made.put_count("expert_gating_func", if is_softmax { 1 } else { 2 })?;
    let n_group = made.config.count("n_group")?.unwrap_or(1);
    if made.config.string("topk_method")? != Some("greedy") && n_group > 1 {
        made.count("expert_group_count", "n_group")?;
        made.count("expert_group_used_count", "topk_group")?;
    }
    Ok(())
}

/// The experts of every layer that has some, beside shared ones.
pub(super) fn experts_of(base: &Base<'_>, default: Scoring) -> Result<Option<ExpertsSpec>> {
    let keys = &base.keys;
    let Some(mut experts) = base.experts()? else { return Ok(None) };
    let router = &mut experts.router;
    router.scoring = base.scoring(default)?;
    router.has_choice_bias = router.scoring == Scoring::Sigmoid;
    router.is_normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    router.scale = base.expert_scale()?;
    let groups = (keys.count("expert_group_count")?, keys.count("expert_group_used_count")?);
    if let (Some(n_group), Some(n_used)) = groups
        && n_group > 1
    {
        // V3 adds the two best of a group, V2 takes the best.
        let n_best = if router.scoring == Scoring::Sigmoid { 2 } else { 1 };
        router.groups = Some(GroupSpec { n_group, n_used, n_best });
    }
    // Of K-EXAONE there is always one.
    let usual = usize::from(keys.arch() == "exaone-moe");
    let n_shared = keys.count("expert_shared_count")?.unwrap_or(usual);
    experts.shared = base.shared(experts.expert.n_ff.saturating_mul(n_shared), false);
    Ok(Some(experts))
}

/// Scores that grow with the position, which Mistral Large 3 and Mistral Small 4 have.
fn temperature_of(base: &Base<'_>) -> Result<Option<TemperatureSpec>> {
    let original = match (base.keys.count("attention.temperature_length")?, &base.rope.scaling) {
        (None, RopeScaling::Yarn { original_context, .. }) => Some(*original_context),
        (length, _) => length.filter(|&n| n > 0),
    };
    let beta = base.keys.f32("attention.temperature_scale")?.filter(|&beta| beta != 0.0);
    Ok(beta.zip(original).map(|(beta, original_context)| TemperatureSpec {
        beta,
        original_context,
        offset: 0,
    }))
}

pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let n_rot = keys.required_count("rope.dimension_count")?;
    base.rope.n_dims = n_rot;
    // Files from before April 2025 say what heads have, and not what is cached.
    let head_dim = keys.count("attention.key_length_mla")?.unwrap_or(base.head_dim_k);
    let weight = keys.f32(LOG_MULTIPLIER)?.map_or(0.0, |weight| weight / 0.1);
    let temperature = match base.rope.scaling {
        RopeScaling::Yarn { factor, .. } if weight != 0.0 => yarn_temperature(factor, weight),
        _ => 1.0,
    };
    let mla = MlaSpec {
        n_embd: base.n_embd,
        n_head: base.n_head[0],
        q_lora_rank: keys.count("attention.q_lora_rank")?.filter(|&rank| rank > 0),
        kv_lora_rank: keys.required_count("attention.kv_lora_rank")?,
        head_dim_nope: head_dim.saturating_sub(n_rot),
        n_rot,
        head_dim_v: keys.count("attention.value_length_mla")?.unwrap_or(base.head_dim_v),
        rope: Some(RopeUse { index: 0, order: base.order }),
        scale: temperature * temperature / (head_dim as f32).sqrt(),
        temperature: temperature_of(&base)?,
        // These norms have an epsilon of their own, which configurations do not say.
        norm: NormSpec { eps: 1e-6, ..base.norm },
        key_norm: None,
        window: None,
        has_sinks: false,
        gate: None,
        indexer: None,
    };
    let n_dense = base.n_dense()?;
    // The first files of GLM 4.7 Flash do not say how they score: a bias for the choice belongs to sigmoids.
    let has_bias = keys.has_tensor(&format!("blk.{n_dense}.exp_probs_b.bias"));
    let experts = experts_of(&base, if has_bias { Scoring::Sigmoid } else { Scoring::Softmax })?;
    let layer = |i: usize| {
        let ffn = match &experts {
            Some(experts) if i >= n_dense => FfnSpec::Experts(experts.clone()),
            _ => FfnSpec::Gated(base.ffn(i)),
        };
        LayerSpec { mixer: MixerSpec::Mla(mla), ..base.layer_of(base.attention(i), ffn) }
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// Keys and values of heads lie in one matrix; those of keys are turned.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let MixerSpec::Mla(mla) = &sources.spec.layers[slot.id.layer.unwrap_or(0)].mixer else { return Ok(None) };
    let (nope, head_dim_v, rank) = (mla.head_dim_nope, mla.head_dim_v, mla.kv_lora_rank);
    let rows = match slot.id.role {
        Role::AttnKB => RowMap::Columns { n_out: rank, n_cols: rank, first: 0, step: 1, skipped: head_dim_v },
        Role::AttnVB => {
            RowMap::Strided { first: nope, run: head_dim_v, stride: nope + head_dim_v, pairs: None }
        }
        Role::ExpProbs => {
            let name = sources.in_layer(slot, "mlp.gate.e_score_correction_bias");
            return Ok(Some(Source::whole(slot, vec![name])));
        }
        Role::AttnKvB => return Ok(None),
        _ => return plain(sources, slot),
    };
    let name = sources.in_layer(slot, "self_attn.kv_b_proj.weight");
    let shape = [mla.n_head * (nope + head_dim_v), rank];
    Ok(Some(Source::whole(slot, vec![name]).with_shape(&shape).with_rows(rows)))
}
