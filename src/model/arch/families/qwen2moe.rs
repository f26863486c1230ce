//! `qwen2moe`: Qwen 1.5 MoE and Qwen 2 57B: Qwen 2 with experts, beside one that every token goes through with a
//! gate.

use super::prelude::*;

/// The `qwen2moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen2moe",
    checkpoint_classes: &["Qwen2MoeForCausalLM", "Qwen2MoeModel"],
    model_types: &["qwen2_moe"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateInpShexp, "mlp.shared_expert_gate"),
            (Role::FfnGateShexp, "mlp.shared_expert.gate_proj"),
            (Role::FfnUpShexp, "mlp.shared_expert.up_proj"),
            (Role::FfnDownShexp, "mlp.shared_expert.down_proj"),
        ],
        ..Names::PLAIN
    },
    source: |sources, slot| {
        let source = plain(sources, slot)?;
        let is_gate = slot.id.role == Role::FfnGateInpShexp;
        Ok(source.map(|source| if is_gate { source.with_shape(&[1, slot.shape[0]]) } else { source }))
    },
    promises: |config| {
        let has_bias = config.bool("qkv_bias")?.unwrap_or(true);
        Ok(Promises { qkv_bias: Promise::of(has_bias), ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_sliding_window", false, true)?;
    every_layer_has_experts(made)?;
    made.base(&Defaults::RMS)?;
    made.experts(&["num_experts", "num_local_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    made.optional_count("expert_shared_feed_forward_length", "shared_expert_intermediate_size")?;
    made.normalised(false)
}

/// Refuses dense layers between those with experts, which files cannot say.
pub(super) fn every_layer_has_experts(made: &FromConfig<'_>) -> Result<()> {
    let step = made.config.count("decoder_sparse_step")?.unwrap_or(1);
    let dense = made.config.value("mlp_only_layers").and_then(|list| list.as_array()).map_or(0, Vec::len);
    if step == 1 && dense == 0 {
        return Ok(());
    }
    Err(made.unsupported(format!(
        "decoder_sparse_step {step} and {dense} mlp_only_layers: dense layers between those with experts"
    )))
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.is_normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    let n_shared = keys.count("expert_shared_feed_forward_length")?.unwrap_or(base.n_ff[0]);
    experts.shared = base.shared(n_shared, true);
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Experts(experts.clone()));
    base.model((0..base.n_layer).map(layer).collect())
}
