//! `kimi-linear`: Kimi Linear: delta-nets whose rows decay each at its own rate in most layers, and attention over
//! latent vectors, without positions, in the others; dense layers first, then experts beside shared ones.

use super::deepseek2::{experts_of, source as latent_source};
use super::prelude::*;

/// The `kimi-linear` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "kimi-linear",
    checkpoint_classes: &["KimiLinearForCausalLM", "KimiLinearModel"],
    model_types: &["kimi_linear"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::SsmConvQ, "self_attn.q_conv1d"),
            (Role::SsmConvK, "self_attn.k_conv1d"),
            (Role::SsmConvV, "self_attn.v_conv1d"),
            (Role::SsmFA, "self_attn.f_a_proj"),
            (Role::SsmFB, "self_attn.f_b_proj"),
            (Role::SsmGA, "self_attn.g_a_proj"),
            (Role::SsmGB, "self_attn.g_b_proj"),
            (Role::SsmBeta, "self_attn.b_proj"),
            (Role::SsmA, "self_attn.A_log"),
            (Role::SsmNorm, "self_attn.o_norm"),
            (Role::AttnQA, "self_attn.q_a_proj"),
            (Role::AttnQANorm, "self_attn.q_a_layernorm"),
            (Role::AttnQB, "self_attn.q_b_proj"),
            (Role::AttnKvAMqa, "self_attn.kv_a_proj_with_mqa"),
            (Role::AttnKvANorm, "self_attn.kv_a_layernorm"),
            (Role::FfnGateInp, "block_sparse_moe.gate"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.w1"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.w3"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.w2"),
            (Role::FfnGateShexp, "block_sparse_moe.shared_experts.gate_proj"),
            (Role::FfnUpShexp, "block_sparse_moe.shared_experts.up_proj"),
            (Role::FfnDownShexp, "block_sparse_moe.shared_experts.down_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// The key of the length of a delta-net's head.
const HEAD_DIM: &str = "kda.head_dim";

/// Which layers attend, of those numbered from one in a list of the configuration, or by their kinds.
fn attending(made: &FromConfig<'_>, linear: Option<&Config>) -> Result<Vec<bool>> {
    let n_layer = made.n_layer()?;
    if let Some(kinds) = made.config.strings("layer_types")? {
        return Ok(kinds.iter().map(|kind| *kind == "full_attention").collect());
    }
    let listed = linear.map(|linear| linear.f32s("full_attn_layers")).transpose()?.flatten();
    let Some(listed) = listed else {
        return Ok((0..n_layer).map(|i| i > 0 && i % 4 == 0).collect());
    };
    Ok((0..n_layer).map(|i| listed.contains(&((i + 1) as f32))).collect())
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let config = made.config;
    let linear = config.object("linear_attn_config")?;
    let of_linear = |name: &str, other: &'static str, default: usize| {
        let own = linear.as_ref().map(|linear| linear.count(name)).transpose()?.flatten();
        Ok::<_, crate::Error>(own.or(config.count(other)?).unwrap_or(default))
    };
    let n_ctx_name = made.first_of(&["model_max_length", "max_position_embeddings"]);
    super::deepseek2::latent_keys(made, &Defaults { eps: 1e-5, n_ctx_name, ..Defaults::RMS })?;
    let n_head = config.required_count("num_attention_heads")?;
    if of_linear("num_heads", "linear_num_heads", n_head)? != n_head {
        return Err(made.unsupported("heads of delta-nets that are not as many as those of attention".into()));
    }
    let attending = attending(made, linear.as_ref())?;
    made.replace_counts("attention.head_count_kv", attending.into_iter().map(usize::from))?;
    made.put_count("ssm.conv_kernel", of_linear("short_conv_kernel_size", "linear_conv_kernel_dim", 4)?)?;
    made.put_count(HEAD_DIM, of_linear("head_dim", "linear_head_dim", 128)?)?;
    experts(made)
}

/// Writes the keys of experts, which this configuration calls differently from all others but Ling 3's.
pub(super) fn experts(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    if config.string("moe_router_activation_func")?.is_some_and(|function| function != "sigmoid") {
        return Err(made.unsupported("moe_router_activation_func; it must be \"sigmoid\"".into()));
    }
    if config.count("moe_layer_freq")?.is_some_and(|n| n != 1) {
        return Err(made.unsupported("moe_layer_freq; it must be 1".into()));
    }
    let n_dense = match config.strings("mlp_layer_types")? {
        Some(kinds) => kinds.iter().take_while(|kind| **kind == "dense").count(),
        None => config.count("first_k_dense_replace")?.unwrap_or(1),
    };
    made.put_count("leading_dense_block_count", n_dense)?;
    made.count("expert_count", made.first_of(&["num_experts", "num_local_experts", "n_routed_experts"]))?;
    made.count("expert_used_count", made.first_of(&["num_experts_per_token", "num_experts_per_tok"]))?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    made.count("expert_shared_count", made.first_of(&["num_shared_experts", "n_shared_experts"]))?;
    made.f32_or("expert_weights_scale", "routed_scaling_factor", 1.0)?;
    let normalised = made.first_of(&["moe_renormalize", "norm_topk_prob"]);
    made.put("expert_weights_norm", Value::Bool(config.bool(normalised)?.unwrap_or(true)));
    made.put_count("expert_gating_func", 2)?;
    let groups = (made.first_of(&["num_expert_group", "n_group"]), "topk_group");
    if config.count(groups.0)?.is_some_and(|n| n > 1) {
        made.count("expert_group_count", groups.0)?;
        made.count("expert_group_used_count", groups.1)?;
    }
    Ok(())
}

/// Attention over latent vectors without positions, whose keys have `n_rot` elements that would be rotated.
pub(super) fn latent(base: &Base<'_>, n_rot: usize) -> Result<MlaSpec> {
    let keys = &base.keys;
    let head_dim = keys.required_count("attention.key_length_mla")?;
    Ok(MlaSpec {
        n_embd: base.n_embd,
        n_head: base.n_head[0],
        q_lora_rank: keys.count("attention.q_lora_rank")?.filter(|&rank| rank > 0),
        kv_lora_rank: keys.required_count("attention.kv_lora_rank")?,
        head_dim_nope: head_dim.saturating_sub(n_rot),
        n_rot,
        head_dim_v: keys.required_count("attention.value_length_mla")?,
        rope: None,
        scale: 1.0 / (head_dim as f32).sqrt(),
        temperature: None,
        // These norms have an epsilon of their own, which configurations do not say.
        norm: NormSpec { eps: 1e-6, ..base.norm },
        key_norm: None,
        window: None,
        has_sinks: false,
        gate: None,
        indexer: None,
    })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let n_rot = keys.required_count("rope.dimension_count")?;
    base.rope.n_dims = n_rot;
    let mla = latent(&base, n_rot)?;
    let kda = KdaSpec {
        n_embd: base.n_embd,
        n_head: base.n_head[0],
        head_dim: keys.required_count(HEAD_DIM)?,
        is_narrow: true,
        bound: None,
        has_row_of_rates: false,
        n_taps: keys.required_count("ssm.conv_kernel")?,
        norm: base.norm,
    };
    let (n_dense, experts) = (base.n_dense()?, experts_of(&base, Scoring::Sigmoid)?);
    let mut experts = experts.ok_or_else(|| keys.missing("expert_count"))?;
    // Files of others do not say it, and the published model does so.
    experts.router.is_normalised = keys.bool("expert_weights_norm")?.unwrap_or(true);
    let layer = |i: usize| {
        let ffn = if i < n_dense { FfnSpec::Gated(base.ffn(i)) } else { FfnSpec::Experts(experts.clone()) };
        let mixer = if base.n_head_kv[i] == 0 { MixerSpec::Kda(kda) } else { MixerSpec::Mla(mla) };
        LayerSpec { mixer, ..base.layer_of(base.attention(i), ffn) }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let of = |name: &str| Source::whole(slot, vec![sources.in_layer(slot, name)]);
    Ok(match (slot.id.role, slot.id.suffix) {
        (Role::SsmConvQ | Role::SsmConvK | Role::SsmConvV, _) => {
            plain(sources, slot)?.map(|source| source.with_shape(&[slot.shape[1], 1, slot.shape[3]]))
        }
        // transformers 5.24 saves dense parts under the name of experts.
        (Role::FfnGate | Role::FfnUp | Role::FfnDown, _) => {
            let name = sources.stem(slot).unwrap_or_default();
            let names = [name.clone(), name.replace(".mlp.", ".block_sparse_moe.")];
            Some(Source::whole(slot, names.map(|name| format!("{name}.weight")).to_vec()))
        }
        (Role::SsmDt, _) => Some(of("self_attn.dt_bias")),
        (Role::SsmA, _) => plain(sources, slot)?.map(|source| source.with_values(ValueMap::NegativeExp)),
        (Role::ExpProbs, _) => Some(of("block_sparse_moe.gate.e_score_correction_bias")),
        (Role::AttnKB | Role::AttnVB | Role::AttnKvB, _) => return latent_source(sources, slot),
        _ => return plain(sources, slot),
    })
}
