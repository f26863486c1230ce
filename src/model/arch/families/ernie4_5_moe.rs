//! `ernie4_5-moe`: ERNIE 4.5 21B-A3B and 300B-A47B: dense layers first, then experts beside shared ones, chosen with
//! a bias by their probabilities.

use super::prelude::*;

/// The `ernie4_5-moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "ernie4_5-moe",
    checkpoint_classes: &["Ernie4_5_MoeForCausalLM"],
    model_types: &["ernie4_5_moe"],
    keys,
    spec,
    names: Names::PLAIN,
    source,
    promises: |config| {
        let bias = Promise::of(config.bool("use_bias")?.unwrap_or(false));
        let is_tied = Some(config.bool("tie_word_embeddings")?.unwrap_or(true));
        Ok(Promises { is_tied, qkv_bias: bias, output_bias: bias, mlp_bias: bias })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    if made.config.count("moe_layer_interval")?.unwrap_or(1) != 1 {
        return Err(made.unsupported("moe_layer_interval other than 1".into()));
    }
    made.base(&Defaults { eps: 1e-5, freq_base: 5e5, ..Defaults::RMS })?;
    super::deepseek2::experts(made)?;
    let n_shared = made.config.count("moe_num_shared_experts")?.unwrap_or(0);
    let n_ff = made.config.required_count("moe_intermediate_size")?;
    made.put_count("expert_shared_feed_forward_length", n_shared.saturating_mul(n_ff))?;
    made.put_count("interleave_moe_layer_step", 1)?;
    made.replace_count("expert_gating_func", 1)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let n_shared = keys.count("expert_shared_feed_forward_length")?;
    let mut model = super::dots1::spec_with(&base, Scoring::Softmax, |_, _| {})?;
    for layer in &mut model.layers {
        if let FfnSpec::Experts(experts) = &mut layer.ffn {
            experts.router.has_choice_bias = true;
            experts.router.is_normalised = true;
            // Files that do not count what is shared say how wide it is.
            experts.shared = n_shared.map_or(experts.shared, |n_ff| base.shared(n_ff, false));
        }
    }
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "mlp.moe_statics.e_score_correction_bias");
        return Ok(Some(Source::whole(slot, vec![name]).with_shape(&[1, slot.shape[0]])));
    }
    plain(sources, slot)
}
