//! `bailingmoe3`: Ling 3: delta-nets with bounded decays in most layers, and attention over latent vectors, gated by
//! head, in the last of every group; dense layers first, then experts beside shared ones.

use super::deepseek2::{experts_of, source as latent_source};
use super::maple::{bounds, silu};
use super::prelude::*;

/// The `bailingmoe3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "bailingmoe3",
    checkpoint_classes: &["BailingMoeV3ForCausalLM", "BailingHybridForCausalLM"],
    model_types: &["bailing_hybrid"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TokenEmbd, "model.word_embeddings"),
            (Role::AttnQ, "attention.q_proj"),
            (Role::AttnK, "attention.k_proj"),
            (Role::AttnV, "attention.v_proj"),
            (Role::AttnOutput, "attention.dense"),
            (Role::AttnGate, "attention.g_proj"),
            (Role::SsmConvQ, "attention.q_conv1d"),
            (Role::SsmConvK, "attention.k_conv1d"),
            (Role::SsmConvV, "attention.v_conv1d"),
            (Role::SsmFA, "attention.f_proj"),
            (Role::SsmGA, "attention.g_proj"),
            (Role::SsmBeta, "attention.b_proj"),
            (Role::SsmA, "attention.A_log"),
            (Role::SsmNorm, "attention.o_norm"),
            (Role::AttnQA, "attention.q_a_proj"),
            (Role::AttnQANorm, "attention.q_a_layernorm"),
            (Role::AttnQB, "attention.q_b_proj"),
            (Role::AttnKvAMqa, "attention.kv_a_proj_with_mqa"),
            (Role::AttnKvANorm, "attention.kv_a_layernorm"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

const HEAD_DIM: &str = "kda.head_dim";
const BOUND: &str = "kda.gate_lower_bound";

/// The keys of the bounds of gates, and what configurations call them.
const BOUNDS: [(&str, &str); 2] = [
    ("swiglu_clamp_exp", "expert_swiglu_limit_list"),
    ("swiglu_clamp_shexp", "share_expert_swiglu_limit_list"),
];

/// Layers of a group, of which the last attends.
const GROUP: usize = 6;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.activation(&["gated_attention_proj_granularity_type"], "head_wise", &["head_wise"])?;
    made.refuse("no_kda_lora", true, false)?;
    made.refuse("kda_safe_gate", true, false)?;
    made.refuse("attention_bias", false, true)?;
    let config = made.config;
    let n_layer = made.n_layer()?;
    let n_ctx_name = made.first_of(&["max_position_embeddings", "model_max_length"]);
    super::deepseek2::latent_keys(made, &Defaults { freq_base: 6e6, n_ctx_name, ..Defaults::RMS })?;
    if made.rope_parameters()?.is_some_and(|of| of.value("mscale_all_dim").is_some()) {
        return Err(
            made.unsupported("mscale_all_dim, which the bailingmoe3 architecture has no key for".into())
        );
    }
    let group = config.count("layer_group_size")?.unwrap_or(GROUP).max(1);
    let attends: Vec<bool> = match config.strings("layer_types")? {
        Some(kinds) => kinds.iter().map(|kind| *kind == "full_attention").collect(),
        None => (0..n_layer).map(|i| (i + 1) % group == 0 || i >= n_layer / group * group).collect(),
    };
    // Layers of further predictions attend.
    let n_more = config.count("num_nextn_predict_layers")?.unwrap_or(0);
    if n_more > crate::limits::MAX_LAYERS {
        return Err(made.unsupported(format!("num_nextn_predict_layers {n_more}")));
    }
    let all = attends.into_iter().map(usize::from).chain(std::iter::repeat_n(1, n_more));
    made.replace_counts("attention.head_count_kv", all)?;
    let taps = made.first_of(&["short_conv_kernel_size", "linear_conv_kernel_dim"]);
    made.put_count("ssm.conv_kernel", config.count(taps)?.unwrap_or(4))?;
    let head_dim = made.first_of(&["linear_head_dim", "head_dim"]);
    made.put_count(HEAD_DIM, config.count(head_dim)?.unwrap_or(128))?;
    made.put("kda.safe_gate", Value::Bool(true));
    made.f32_or(BOUND, "kda_lower_bound", -5.0)?;
    super::kimi_linear::experts(made)?;
    made.optional_count("expert_shared_feed_forward_length", "moe_shared_expert_intermediate_size")?;
    for (key, name) in BOUNDS {
        if let Some(list) = config.value(name).and_then(|list| list.as_array()) {
            let bound = |i: usize| list.get(i).and_then(|bound| bound.as_f64()).unwrap_or(0.0) as f32;
            made.put(key, Value::F32s((0..n_layer + n_more).map(bound).collect()));
        }
    }
    made.further_predictions()
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    // Those of models that see have the order of halves.
    let has_sections = keys.contains("rope.dimension_sections");
    let order = if has_sections { RopeOrder::Halves } else { RopeOrder::Pairs };
    let mut base = Base::read(keys, NormKind::Rms, order, Gate::Silu)?;
    let n_rot = keys.required_count("rope.dimension_count")?;
    base.rope.n_dims = n_rot;
    let mla = MlaSpec { gate: Some(AttentionGate::Head), ..super::kimi_linear::latent(&base, n_rot)? };
    let mla = MlaSpec { rope: Some(RopeUse { index: 0, order }), ..mla };
    if keys.bool("kda.safe_gate")? == Some(false) {
        return Err(keys.unsupported("kda.safe_gate false"));
    }
    let kda = KdaSpec {
        n_embd: base.n_embd,
        n_head: base.n_head[0],
        head_dim: keys.required_count(HEAD_DIM)?,
        is_narrow: false,
        bound: Some(keys.required_f32(BOUND)?),
        has_row_of_rates: false,
        n_taps: keys.required_count("ssm.conv_kernel")?,
        norm: base.norm,
    };
    let (n_dense, experts) = (base.n_dense()?, experts_of(&base, Scoring::Sigmoid)?);
    let mut experts = experts.ok_or_else(|| keys.missing("expert_count"))?;
    if let Some(n_ff) = keys.count("expert_shared_feed_forward_length")?.filter(|&n| n > 0) {
        experts.shared = base.shared(n_ff, false);
    }
    let [of_experts, of_others] = [bounds(&base, BOUNDS[0].0)?, bounds(&base, BOUNDS[1].0)?];
    let layer = |i: usize| {
        let ffn = if i < n_dense {
            FfnSpec::Gated(base.ffn(i))
        } else {
            let mut experts = experts.clone();
            experts.expert.activation = silu(of_experts[i], false);
            experts.shared.iter_mut().for_each(|of| of.shape.activation = silu(of_others[i], false));
            FfnSpec::Experts(experts)
        };
        let mixer = if base.n_head_kv[i] == 0 { MixerSpec::Kda(kda) } else { MixerSpec::Mla(mla) };
        LayerSpec { mixer, ..base.layer_of(base.attention(i), ffn) }
    };
    base.model((0..base.n_layer).map(layer).collect())
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let of = |name: &str| Source::whole(slot, vec![sources.in_layer(slot, name)]);
    Ok(match slot.id.role {
        Role::SsmConvQ | Role::SsmConvK | Role::SsmConvV => {
            plain(sources, slot)?.map(|source| source.with_shape(&[slot.shape[1], 1, slot.shape[3]]))
        }
        Role::SsmDt => Some(of("attention.dt_bias")),
        Role::SsmA => {
            // One number for each head, in a row or in a column.
            let n = slot.shape[2];
            let column = plain(sources, slot)?.map(|source| source.with_values(ValueMap::Exp));
            let rows = RowMap::Columns { n_out: n, n_cols: n, first: 0, step: 1, skipped: 0 };
            column.map(|column| {
                let row = column.clone().with_shape(&[n]).with_rows(rows);
                Source::Either(Box::new(row), Box::new(column))
            })
        }
        Role::ExpProbs => Some(of("mlp.gate.expert_bias")),
        Role::AttnKB | Role::AttnVB => latent_source(sources, slot)?
            .map(|source| source.with_name(&sources.in_layer(slot, "attention.kv_b_proj.weight"))),
        Role::AttnKvB => None,
        _ => return plain(sources, slot),
    })
}
