//! `minimax-m3`: MiniMax M3: norms of heads, which are rotated in part; dense layers first, then experts with bounded
//! gates beside a shared one. Behind the dense ones, layers attend to blocks of positions that an indexer chooses:
//! within as many as it chooses that is attention to all, and longer texts are refused.

use super::prelude::*;

/// The `minimax-m3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "minimax-m3",
    checkpoint_classes: &[
        "MiniMaxM3SparseForCausalLM",
        "MiniMaxM3SparseForConditionalGeneration",
        "MiniMaxM3VLForConditionalGeneration",
    ],
    model_types: &["minimax_m3_vl_text", "minimax_m3_vl"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateInp, "block_sparse_moe.gate"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.w1"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.w3"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.w2"),
            (Role::FfnGateShexp, "block_sparse_moe.shared_experts.gate_proj"),
            (Role::FfnUpShexp, "block_sparse_moe.shared_experts.up_proj"),
            (Role::FfnDownShexp, "block_sparse_moe.shared_experts.down_proj"),
            (Role::IndexerQProj, "self_attn.index_q_proj"),
            (Role::IndexerKProj, "self_attn.index_k_proj"),
            (Role::IndexerQNorm, "self_attn.index_q_norm"),
            (Role::IndexerKNorm, "self_attn.index_k_norm"),
        ],
        left_out: &["patch_merge_mlp."],
        ..Names::PLAIN
    },
    source,
    promises,
};

/// The slope and the bound of gates, which files do not say.
const GATE: Gate = Gate::ClampedSilu { alpha: 1.702, limit: 7.0 };

/// The keys of the indexer, and what configurations call them: of transformers, and in the published object.
const INDEXER: [(&str, &str, &str); 5] = [
    ("attention.indexer.head_count", "index_n_heads", "sparse_num_index_heads"),
    ("attention.indexer.key_length", "index_head_dim", "sparse_index_dim"),
    (TOP_K, "index_topk_blocks", "sparse_topk_blocks"),
    (BLOCK, "index_block_size", "sparse_block_size"),
    ("attention.indexer.local_blocks", "index_local_blocks", "sparse_local_block"),
];
const TOP_K: &str = "attention.indexer.top_k";
const BLOCK: &str = "attention.indexer.block_size";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu", "swigluoai"])?;
    made.activation(&["scoring_func"], "sigmoid", &["sigmoid"])?;
    made.refuse_number("swiglu_alpha", 1.702)?;
    made.refuse_number("swiglu_limit", 7.0)?;
    made.refuse("use_qk_norm", true, false)?;
    made.refuse("use_gemma_norm", true, false)?;
    let config = made.config;
    let partial = Partial::Allowed(1.0);
    let n_ff_name = made.first_of(&["dense_intermediate_size", "intermediate_size"]);
    made.base(&Defaults { freq_base: 5e6, head_dim: Some(128), partial, n_ff_name, ..Defaults::RMS })?;
    if let Some(n_rot) = config.count("rotary_dim")? {
        made.replace_count("rope.dimension_count", n_rot)?;
    }
    let n_dense = dense_layers(made)?;
    made.put_count("leading_dense_block_count", n_dense)?;
    made.experts(&["num_local_experts"])?;
    let n_ff = made.count("expert_feed_forward_length", "intermediate_size")?;
    let n_shared = config.count("n_shared_experts")?.unwrap_or(1);
    let width = config.count("shared_intermediate_size")?.unwrap_or(n_ff);
    if width != n_ff {
        let what = format!("shared_intermediate_size {width}; it must be intermediate_size, {n_ff}");
        return Err(made.unsupported(what));
    }
    made.put_count("expert_shared_count", n_shared)?;
    made.put_count("expert_gating_func", 2)?;
    made.f32_or("expert_weights_scale", "routed_scaling_factor", 1.0)?;
    made.put("expert_weights_norm", Value::Bool(true));
    let published = config.object("sparse_attention_config")?;
    for (key, name, other) in INDEXER {
        let own = published.as_ref().map(|of| of.count(other)).transpose()?.flatten();
        let n = own.map_or_else(|| config.required_count(name), Ok)?;
        made.put_count(key, n)?;
    }
    made.note(
        "layers attend to blocks of positions that an indexer chooses: this program computes texts of at most as many \
         positions as it chooses, of which all are chosen"
            .into(),
    );
    Ok(())
}

/// Dense layers in front of those with experts, which attend to all positions; the others have indexers.
fn dense_layers(made: &FromConfig<'_>) -> Result<usize> {
    let config = made.config;
    let n_layer = made.n_layer()?;
    let dense: Vec<bool> = match (config.strings("mlp_layer_types")?, config.f32s("moe_layer_freq")?) {
        (Some(kinds), _) => kinds.iter().map(|kind| *kind == "dense").collect(),
        (None, Some(often)) => often.iter().map(|&often| often == 0.0).collect(),
        (None, None) => vec![false; n_layer],
    };
    let n_dense = dense.iter().take_while(|&&is| is).count();
    if dense.len() != n_layer || dense[n_dense..].contains(&true) {
        return Err(made.unsupported("dense layers behind those with experts, or not a kind for each".into()));
    }
    let published = config.object("sparse_attention_config")?;
    let often = published.map(|of| of.f32s("sparse_attention_freq")).transpose()?.flatten();
    let has_indexer: Option<Vec<bool>> = match (config.strings("layer_types")?, often) {
        (Some(kinds), _) => Some(kinds.iter().map(|kind| *kind != "full_attention").collect()),
        (None, often) => often.map(|often| often.iter().map(|&often| often != 0.0).collect()),
    };
    let expected = (0..n_layer).map(|i| i >= n_dense);
    if has_indexer.is_some_and(|found| !found.into_iter().eq(expected)) {
        let what =
            "indexers in other layers than those with experts; the minimax-m3 architecture has them there";
        return Err(made.unsupported(what.into()));
    }
    Ok(n_dense)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, GATE)?;
    let indexer = IndexerSpec {
        n_head: keys.required_count("attention.indexer.head_count")?,
        head_dim: keys.required_count("attention.indexer.key_length")?,
        n_pool: None,
    };
    let n_dense = base.n_dense()?;
    let mut model = super::dots1::spec_with(&base, Scoring::Sigmoid, |i, attention| {
        attention.qk_norm = Some(base.qk_norm());
        attention.indexer = Some(indexer).filter(|_| i >= n_dense);
    })?;
    let n_chosen = keys.required_count(TOP_K)?.saturating_mul(keys.required_count(BLOCK)?);
    model.max_ctx = Some(n_chosen);
    model.n_ctx_train = model.n_ctx_train.min(n_chosen);
    Ok(model)
}

/// Norms are stored less one.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let made = plain(sources, slot)?;
    Ok(match slot.id.role {
        Role::AttnNorm
        | Role::FfnNorm
        | Role::OutputNorm
        | Role::AttnQNorm
        | Role::AttnKNorm
        | Role::IndexerQNorm
        | Role::IndexerKNorm
            if sources.dialect == Dialect::Transformers =>
        {
            made.map(|source| source.with_values(ValueMap::Plus(1.0)))
        }
        Role::ExpProbs => {
            let name = sources.in_layer(slot, "block_sparse_moe.e_score_correction_bias");
            Some(Source::whole(slot, vec![name]))
        }
        _ => made,
    })
}
