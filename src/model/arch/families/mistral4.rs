//! `mistral4`: Mistral Small 4: attention over latent vectors and experts as in DeepSeek V2, and scores that grow with
//! the position beyond the original context.

use super::prelude::*;

/// The `mistral4` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mistral4",
    checkpoint_classes: &["Mistral4ForCausalLM"],
    model_types: &["mistral4"],
    keys,
    spec: super::deepseek2::spec,
    names: super::deepseek2::NAMES,
    source: |sources, slot| match slot.id.role {
        Role::FfnGateExps | Role::FfnUpExps | Role::FfnDownExps => super::qwen3next::experts(sources, slot),
        _ => super::deepseek2::source(sources, slot),
    },
    promises,
};

/// Whether the text part of a Mistral 3 is one.
pub(super) fn is_meant(config: &Config) -> Result<bool> {
    Ok(config.string("model_type")? == Some("mistral4"))
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("attention_bias", false, true)?;
    made.refuse("rope_interleave", true, false)?;
    if made.config.count("n_group")?.is_some_and(|n| n > 1) {
        return Err(
            made.unsupported("n_group; the experts of the mistral4 architecture have no groups".into())
        );
    }
    super::deepseek2::keys_with(made, &Defaults { partial: Partial::Allowed(1.0), ..Defaults::RMS })?;
    // It has a softmax without saying so.
    made.replace_count("expert_gating_func", 1)?;
    let Some(rope) = made.rope_parameters()? else { return Ok(()) };
    let original = rope.count("original_max_position_embeddings")?;
    if let (Some(beta), Some(original)) = (rope.f32("llama_4_scaling_beta")?, original) {
        made.put("attention.temperature_scale", Value::F32(beta));
        made.put_count("attention.temperature_length", original)?;
    }
    Ok(())
}
