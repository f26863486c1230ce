//! `nemotron_h_moe`: Nemotron 3 Nano and Super: Nemotron-H with experts in the place of feed-forward parts, plain parts
//! without gates, which may work in a narrower space than the stream's.

use super::nemotron_h::{Kind, kinds, trunk, trunk_keys};
use super::prelude::*;

/// The `nemotron_h_moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "nemotron_h_moe",
    // The class and the type of configurations are those of `nemotron_h`, whose variant this is.
    checkpoint_classes: &[],
    model_types: &[],
    keys,
    spec,
    names: super::nemotron_h::NAMES,
    source,
    promises,
};

/// Whether a configuration is of this family and not of `nemotron_h`.
pub(super) fn is_meant(config: &Config) -> Result<bool> {
    if let Some(pattern) = config.string("hybrid_override_pattern")? {
        return Ok(pattern.contains('E'));
    }
    let types = config.strings("layers_block_type")?.or(config.strings("layer_types")?);
    Ok(types.unwrap_or_default().contains(&"moe"))
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let kinds = kinds(made)?;
    let config = made.config;
    if config.count("n_group")?.unwrap_or(1) != 1 {
        return Err(made.unsupported("experts in groups (n_group)".into()));
    }
    if kinds.contains(&Kind::FeedForward) {
        return Err(made.unsupported("dense feed-forward layers beside experts".into()));
    }
    let n_ff = config.required_count("moe_intermediate_size")?;
    trunk_keys(made, &kinds, (Kind::Experts, n_ff))?;
    made.put_count("expert_feed_forward_length", n_ff)?;
    made.experts(&["n_routed_experts"])?;
    made.count("expert_shared_feed_forward_length", "moe_shared_expert_intermediate_size")?;
    made.put_count("expert_shared_count", config.count("n_shared_experts")?.unwrap_or(1))?;
    made.normalised(true)?;
    made.f32_or("expert_weights_scale", "routed_scaling_factor", 1.0)?;
    made.put_count("expert_group_count", 1)?;
    made.optional_count("moe_latent_size", "moe_latent_size")?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::ReluSquared)?;
    let Some(mut experts) = base.experts()? else {
        return Err(keys.missing("expert_count"));
    };
    experts.is_dense = true;
    experts.router.scoring = Scoring::Sigmoid;
    experts.router.has_choice_bias = true;
    experts.router.is_normalised = keys.bool("expert_weights_norm")?.unwrap_or(false);
    experts.router.scale = base.expert_scale()?;
    experts.shared = base.shared(keys.count("expert_shared_feed_forward_length")?.unwrap_or(0), false);
    if let Some(n) = keys.count("moe_latent_size")?.filter(|&n| n > 0) {
        (experts.is_latent, experts.expert.n_embd) = (true, n);
    }
    trunk(&base, |_| FfnSpec::Experts(experts.clone()))
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let name = match slot.id.role {
        Role::ExpProbs => "mixer.gate.e_score_correction_bias",
        Role::FfnUpExps => "mixer.experts.up_proj",
        Role::FfnDownExps => "mixer.experts.down_proj",
        _ => return super::mamba2::source(sources, slot),
    };
    let whole = Source::whole(slot, vec![sources.in_layer(slot, name)]);
    if slot.id.role == Role::ExpProbs {
        let dotted = "mixer.gate.e_score_correction.bias";
        let other = Source::whole(slot, vec![sources.in_layer(slot, dotted)]);
        return Ok(Some(Source::Either(whole.into(), other.into())));
    }
    // Checkpoints have the matrices of experts one by one, or in one stack.
    let apart = plain(sources, slot)?;
    Ok(apart.map(|apart| Source::Either(whole.into(), apart.into())))
}
