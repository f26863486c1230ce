//! `glm5-next`: GLM 5.3 Flash: Kimi's delta-nets with bounded decays, and attention over latent vectors without positions
//! in every fourth layer; every part gets a weighted sum of several streams, which a balanced matrix mixes; dense layers
//! first, then experts beside a shared one, with bounded gates. Attention is to pools of positions that an indexer
//! chooses: within as many as it chooses that is attention to all, and longer texts are refused.

use super::deepseek2::{experts_of, source as latent_source};
use super::deepseek32::indexer_keys;
use super::maple::{bounds, silu};
use super::prelude::*;

/// The `glm5-next` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "glm5-next",
    checkpoint_classes: &["Glm5NextForCausalLM", "Glm5NextForConditionalGeneration"],
    model_types: &["glm5_next", "glm5_next_text"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::HcAttnFn, "hc_attn_fn"),
            (Role::HcAttnScale, "hc_attn_scale"),
            (Role::HcAttnBase, "hc_attn_base"),
            (Role::HcFfnFn, "hc_ffn_fn"),
            (Role::HcFfnScale, "hc_ffn_scale"),
            (Role::HcFfnBase, "hc_ffn_base"),
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
            (Role::IndexerKNorm, "self_attn.indexer.k_norm"),
            (Role::IndexerProj, "self_attn.indexer.weights_proj"),
            (Role::IndexerAttnK, "self_attn.indexer.wk"),
            (Role::IndexerAttnQB, "self_attn.indexer.wq_b"),
            (Role::IndexerPoolGate, "self_attn.indexer.index_kpool_compress_gate"),
            (Role::IndexerPoolBase, "self_attn.indexer.index_kpool_compress_ape"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

const HEAD_DIM: &str = "kda.head_dim";
const BOUND: &str = "kda.gate_lower_bound";

/// The keys of the bounds of gates: of experts, and of others.
const LIMITS: [&str; 2] = ["swiglu_clamp_exp", "swiglu_clamp_shexp"];

/// How many positions are chosen, and how many are chosen together.
const TOP_K: &str = "attention.indexer.top_k";
const POOL: &str = "attention.indexer.kpool";

/// Whether positions behind the last whole pool are always chosen.
const TAIL: &str = "attention.indexer.kpool_select_tail";

/// The epsilon of the norm of indexers' keys, which no configuration says.
const LAYER_EPS: f32 = 1e-6;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("attention_bias", false, true)?;
    made.refuse("index_kpool_always_select_tail", true, false)?;
    let config = made.config;
    super::deepseek2::latent_keys(made, &Defaults { eps: 1e-5, ..Defaults::RMS })?;
    let n_rot = config.required_count("qk_rope_head_dim")?;
    if n_rot > 0 {
        return Err(made.unsupported(format!("qk_rope_head_dim {n_rot}; it must be 0")));
    }
    made.put("attention.layer_norm_epsilon", Value::F32(LAYER_EPS));
    let n_layer = made.n_layer()?;
    let attends: Vec<bool> = match config.strings("layer_types")? {
        Some(kinds) => kinds.iter().map(|kind| *kind != "linear_attention").collect(),
        None => (0..n_layer).map(|i| i % 4 == 3).collect(),
    };
    // Layers of further predictions attend.
    let n_more = config.count("num_nextn_predict_layers")?.unwrap_or(0);
    if n_more > crate::limits::MAX_LAYERS {
        return Err(made.unsupported(format!("num_nextn_predict_layers {n_more}")));
    }
    let all = attends.into_iter().map(usize::from).chain(std::iter::repeat_n(1, n_more));
    made.replace_counts("attention.head_count_kv", all)?;
    delta_net_keys(made)?;
    super::deepseek2::experts(made)?;
    let limit = config.f32("swiglu_limit")?.unwrap_or(10.0);
    for key in LIMITS {
        made.put(key, Value::F32s(vec![limit; n_layer + n_more]));
    }
    indexer_keys(made)?;
    made.put_count(POOL, config.count("index_kpool")?.unwrap_or(16))?;
    made.put(TAIL, Value::Bool(true));
    if let Some(kinds) = config.strings("indexer_types")? {
        made.put("attention.indexer.types", Value::Bools(kinds.iter().map(|kind| *kind == "full").collect()));
    }
    made.put_count("hyper_connection.count", config.count("hc_mult")?.unwrap_or(4))?;
    made.put_count("hyper_connection.sinkhorn_iterations", config.count("hc_sinkhorn_iters")?.unwrap_or(20))?;
    made.f32_or("hyper_connection.epsilon", "hc_eps", 1e-6)?;
    made.further_predictions()
}

/// Writes the keys of delta-nets, which transformers calls otherwise than the published object does.
fn delta_net_keys(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    let published = config.object("linear_attn_config")?;
    let count = |name: &str, other: &str, usual: usize| {
        let own = published.as_ref().map(|of| of.count(name)).transpose()?.flatten();
        Ok::<_, crate::Error>(own.or(config.count(other)?).unwrap_or(usual))
    };
    let n_head = config.required_count("num_attention_heads")?;
    if count("num_heads", "linear_num_heads", n_head)? != n_head {
        return Err(made.unsupported("heads of delta-nets that are not as many as those of attention".into()));
    }
    made.put_count("ssm.conv_kernel", count("short_conv_kernel_size", "linear_conv_kernel_dim", 4)?)?;
    made.put_count(HEAD_DIM, count("head_dim", "linear_head_dim", 128)?)?;
    let own = published.as_ref().map(|of| of.f32("gate_lower_bound")).transpose()?.flatten();
    if let Some(bound) = own.or(config.f32("linear_lower_bound")?) {
        made.put(BOUND, Value::F32(bound));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    if keys.count("rope.dimension_count")?.is_some_and(|n| n > 0) {
        return Err(keys.unsupported("rope.dimension_count; layers of glm5-next have no positions"));
    }
    if keys.bool(TAIL)? == Some(false) {
        return Err(keys.unsupported(format!("{TAIL} false: the last positions would not be seen")));
    }
    let indexer = IndexerSpec {
        n_head: keys.required_count("attention.indexer.head_count")?,
        head_dim: keys.required_count("attention.indexer.key_length")?,
        n_pool: Some(keys.required_count(POOL)?),
    };
    let mla = MlaSpec { norm: base.norm, indexer: Some(indexer), ..super::kimi_linear::latent(&base, 0)? };
    let kda = KdaSpec {
        n_embd: base.n_embd,
        n_head: base.n_head[0],
        head_dim: keys.required_count(HEAD_DIM)?,
        is_narrow: true,
        bound: keys.f32(BOUND)?,
        has_row_of_rates: true,
        n_taps: keys.required_count("ssm.conv_kernel")?,
        norm: base.norm,
    };
    let hyper = HyperSpec {
        n_embd: base.n_embd,
        n_stream: keys.required_count("hyper_connection.count")?,
        kind: HyperKind::Weighted {
            norm: NormSpec { has_weight: false, ..base.norm },
            eps: keys.required_f32("hyper_connection.epsilon")?,
            magnitude: 2.0,
            output_eps: 0.0,
            n_balance: Some(keys.required_count("hyper_connection.sinkhorn_iterations")?),
        },
    };
    let (n_dense, experts) = (base.n_dense()?, experts_of(&base, Scoring::Sigmoid)?);
    let experts = experts.ok_or_else(|| keys.missing("expert_count"))?;
    let [of_experts, of_others] = [bounds(&base, LIMITS[0])?, bounds(&base, LIMITS[1])?];
    let layer = |i: usize| {
        let others = silu(of_others[i], true);
        let ffn = if i < n_dense {
            FfnSpec::Gated(FfnShape { activation: others, ..base.ffn(i) })
        } else {
            let mut experts = experts.clone();
            experts.expert.activation = silu(of_experts[i], true);
            experts.shared.iter_mut().for_each(|of| of.shape.activation = others);
            FfnSpec::Experts(experts)
        };
        let mixer = if base.n_head_kv[i] == 0 { MixerSpec::Kda(kda) } else { MixerSpec::Mla(mla) };
        LayerSpec { mixer, hyper: Some(hyper), ..base.layer_of(base.attention(i), ffn) }
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    model.embed.hyper = Some(HyperEndSpec { hyper, is_mean: true });
    let top_k = keys.required_count(TOP_K)?;
    model.max_ctx = Some(top_k);
    model.n_ctx_train = model.n_ctx_train.min(top_k);
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let of = |name: &str| Source::whole(slot, vec![sources.in_layer(slot, name)]);
    Ok(match slot.id.role {
        // Parameters of their own have no suffix there.
        Role::HcAttnFn
        | Role::HcAttnScale
        | Role::HcAttnBase
        | Role::HcFfnFn
        | Role::HcFfnScale
        | Role::HcFfnBase
        | Role::IndexerPoolGate
        | Role::IndexerPoolBase => sources.stem(slot).map(|name| Source::whole(slot, vec![name])),
        Role::SsmConvQ | Role::SsmConvK | Role::SsmConvV => {
            plain(sources, slot)?.map(|source| source.with_shape(&[slot.shape[1], 1, slot.shape[3]]))
        }
        Role::SsmDt => Some(of("self_attn.dt_bias")),
        Role::SsmA => {
            // One number for each head, in a row or in a column.
            let row = plain(sources, slot)?.map(|source| source.with_values(ValueMap::NegativeExp));
            let rows = RowMap::Columns { n_out: 1, n_cols: 1, first: 0, step: 1, skipped: 0 };
            row.map(|row| {
                let column = row.clone().with_shape(&[1, 1, slot.shape[0], 1]).with_rows(rows);
                Source::Either(Box::new(row), Box::new(column))
            })
        }
        Role::ExpProbs => Some(of("mlp.gate.e_score_correction_bias")),
        Role::AttnKB | Role::AttnVB | Role::AttnKvB => return latent_source(sources, slot),
        _ => return plain(sources, slot),
    })
}
