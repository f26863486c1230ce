//! `bailingmoe2`: Ling 2, Ring 2 and Sarvam: dense layers first, then experts chosen by sigmoids in groups beside shared
//! ones; norms of heads, a part of which is rotated; q, k and v in one matrix.

use super::prelude::*;

/// The `bailingmoe2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "bailingmoe2",
    checkpoint_classes: &[
        "BailingMoeV2ForCausalLM",
        "SarvamMoEForCausalLM",
        "modeling_sarvam_moe.SarvamMoEForCausalLM",
    ],
    model_types: &["bailing_moe", "bailing_moe_v2", "sarvam_moe"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TokenEmbd, "model.word_embeddings"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attention.query_key_value"),
            (Role::AttnQNorm, "attention.query_layernorm"),
            (Role::AttnKNorm, "attention.key_layernorm"),
            (Role::AttnOutput, "attention.dense"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: |config| {
        let qkv = Promise::of(config.bool("use_qkv_bias")?.unwrap_or(false));
        let other = Promise::of(config.bool("use_bias")?.unwrap_or(false));
        Ok(Promises { qkv_bias: qkv, output_bias: other, mlp_bias: other, ..promises(config)? })
    },
};

/// Whether a configuration of GLM 4.5's class means this family: transformers computes Sarvam's models with it.
pub(super) fn is_meant(config: &Config) -> Result<bool> {
    Ok(config.string("model_type")? == Some("sarvam_moe"))
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_qk_norm", true, false)?;
    made.base(&Defaults { partial: Partial::Allowed(1.0), ..Defaults::RMS })?;
    made.further_predictions()?;
    super::deepseek2::experts(made)?;
    made.optional_count("expert_shared_feed_forward_length", "moe_shared_expert_intermediate_size")?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    super::dots1::spec_with(&base, Scoring::Sigmoid, |_, attention| attention.qk_norm = Some(base.qk_norm()))
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "mlp.gate.expert_bias");
        return Ok(Some(Source::whole(slot, vec![name])));
    }
    plain(sources, slot)
}
