//! `hunyuan-moe`: Hunyuan A13B: as the dense ones, with experts beside a shared one.

use super::prelude::*;

/// The `hunyuan-moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "hunyuan-moe",
    checkpoint_classes: &["HunYuanMoEV1ForCausalLM"],
    model_types: &["hunyuan_v1_moe"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQNorm, "self_attn.query_layernorm"),
            (Role::AttnKNorm, "self_attn.key_layernorm"),
            (Role::FfnGateInp, "mlp.gate.wg"),
            (Role::FfnGateShexp, "mlp.shared_mlp.gate_proj"),
            (Role::FfnUpShexp, "mlp.shared_mlp.up_proj"),
            (Role::FfnDownShexp, "mlp.shared_mlp.down_proj"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: super::gemma::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    super::hunyuan_dense::keys(made)?;
    let n_used = match made.config.value("moe_topk") {
        Some(value) => {
            let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            if list.windows(2).any(|two| two[0] != two[1]) {
                return Err(made.unsupported("moe_topk that differs by layer".into()));
            }
            list.first().and_then(serde_json::Value::as_u64).unwrap_or(0) as usize
        }
        None => made.config.count("num_experts_per_tok")?.unwrap_or(1),
    };
    made.count("expert_count", made.first_of(&["num_experts", "num_local_experts"]))?;
    made.put_count("expert_used_count", n_used)?;
    let n_ff = made.config.required_count("intermediate_size")?;
    made.put_count("expert_feed_forward_length", n_ff)?;
    made.put_count("expert_shared_feed_forward_length", n_ff)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    let n_shared = keys.count("expert_shared_feed_forward_length")?.filter(|&n| n > 0);
    experts.shared = base.shared(n_shared.unwrap_or(base.n_ff[0]), false);
    let qk_norm = QkNormSpec { is_after_rope: true, ..base.qk_norm() };
    let layer = |i| {
        let attention = AttentionSpec { qk_norm: Some(qk_norm), ..base.attention(i) };
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    base.model((0..base.n_layer).map(layer).collect())
}
