//! `lfm2moe`: LFM2 with experts behind the first few layers, chosen by sigmoids with a bias for the choice.

use super::prelude::*;

/// The `lfm2moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "lfm2moe",
    checkpoint_classes: &["Lfm2MoeForCausalLM"],
    model_types: &["lfm2_moe"],
    keys,
    spec,
    names: super::lfm2::NAMES,
    source,
    promises: super::lfm2::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("norm_topk_prob", true, false)?;
    super::lfm2::common_keys(made, "intermediate_size")?;
    made.experts(&["num_experts", "num_local_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    made.put_count("leading_dense_block_count", made.config.count("num_dense_layers")?.unwrap_or(2))?;
    made.put_count("expert_gating_func", 2)?;
    if let Some(scale) = made.config.f32("routed_scaling_factor")?.filter(|&scale| scale != 1.0) {
        made.put("expert_weights_scale", Value::F32(scale));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.router.scoring = base.scoring(Scoring::Sigmoid)?;
    experts.router.has_choice_bias = true;
    experts.router.scale = base.expert_scale()?;
    let n_dense = base.n_dense()?;
    super::lfm2::spec_with(&base, |i| {
        if i < n_dense { FfnSpec::Gated(base.ffn(i)) } else { FfnSpec::Experts(experts.clone()) }
    })
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "feed_forward.expert_bias");
        return Ok(Some(Source::whole(slot, vec![name])));
    }
    super::lfm2::source(sources, slot)
}
