//! `mistral3`: Ministral 3 and the text part of Mistral Small 3: Llama with YaRN, and scores that grow with the
//! position beyond the original context.

use super::prelude::*;
use crate::model::arch::rope_scaling::LOG_MULTIPLIER;

/// The `mistral3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mistral3",
    checkpoint_classes: &["Ministral3ForCausalLM", "Mistral3ForConditionalGeneration", "Ministral3Model"],
    model_types: &["ministral3", "mistral3"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

const DEFAULTS: Defaults = Defaults { eps: 1e-5, ..Defaults::RMS };

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&DEFAULTS)?;
    made.refuse_window()?;
    let Some(rope) = made.rope_parameters()? else { return Ok(()) };
    if let Some(beta) = rope.f32("llama_4_scaling_beta")? {
        made.put("attention.temperature_scale", Value::F32(beta));
        if let Some(original) = rope.count("original_max_position_embeddings")? {
            made.replace_count("rope.scaling.original_context_length", original)?;
        }
    }
    // The number of files stands for these two; another magnitude is in the key that every family has.
    let magnitude = rope.f32("attention_factor")?;
    if let (Some(1.0), Some(all), None) = (rope.f32("mscale")?, rope.f32("mscale_all_dim")?, magnitude)
        && matches!(made.rope(&DEFAULTS)?.scaling, RopeScaling::Yarn { .. })
    {
        made.replace_attention_factor(LOG_MULTIPLIER, all);
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let beta = keys.f32("attention.temperature_scale")?.filter(|&beta| beta != 0.0);
    let original_context = match keys.count("rope.scaling.original_context_length")? {
        Some(n) => n,
        None => keys.required_count("context_length")?,
    };
    let temperature = beta.map(|beta| TemperatureSpec { beta, original_context, offset: 0 });
    let layer = |i| base.layer(i, |attention| attention.temperature = temperature);
    base.model((0..base.n_layer).map(layer).collect())
}
