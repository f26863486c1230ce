//! `hy_v3`: Hunyuan 3: dense layers first, then experts chosen by sigmoids beside shared ones; norms of heads.

use super::prelude::*;

/// The `hy_v3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "hy_v3",
    checkpoint_classes: &["HYV3ForCausalLM"],
    model_types: &["hy_v3"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateInp, "mlp.router.gate"),
            (Role::FfnGateShexp, "mlp.shared_mlp.gate_proj"),
            (Role::FfnUpShexp, "mlp.shared_mlp.up_proj"),
            (Role::FfnDownShexp, "mlp.shared_mlp.down_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("route_norm", true, false)?;
    made.base(&Defaults { eps: 1e-5, head_dim: Some(128), freq_base: 11_158_840.0, ..Defaults::RMS })?;
    super::deepseek2::experts(made)?;
    let config = made.config;
    if config.strings("mlp_layer_types")?.is_none() && config.count("first_k_dense_replace")?.is_none() {
        // Where it does not say, the first layer is dense.
        made.replace_count("leading_dense_block_count", 1)?;
    }
    let n_ff = made.config.required_count("moe_intermediate_size")?;
    let n_shared = made.config.count("num_shared_experts")?.unwrap_or(1);
    made.put_count("expert_shared_feed_forward_length", n_ff.saturating_mul(n_shared))?;
    let scale = made.config.f32("router_scaling_factor")?.unwrap_or(1.0);
    made.replace("expert_weights_scale", Value::F32(scale));
    made.further_predictions()?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut model = super::dots1::spec_with(&base, Scoring::Sigmoid, |_, attention| {
        attention.qk_norm = Some(base.qk_norm());
    })?;
    // Files of other programs say the width of what is shared, and not how many it is.
    let n_shared = keys.count("expert_shared_feed_forward_length")?;
    for layer in &mut model.layers {
        if let (FfnSpec::Experts(experts), Some(n_ff)) = (&mut layer.ffn, n_shared) {
            experts.shared = base.shared(n_ff, false);
        }
        if let FfnSpec::Experts(experts) = &mut layer.ffn {
            experts.router.is_choice_bias_bare = true;
        }
    }
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "mlp.expert_bias");
        return Ok(Some(Source::whole(slot, vec![name])));
    }
    plain(sources, slot)
}
