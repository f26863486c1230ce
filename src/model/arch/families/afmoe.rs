//! `afmoe`: Trinity: dense layers first, then experts chosen by sigmoids beside a shared one; windows, and no
//! positions where there is none; norms before and behind both parts and of heads; the outputs of attention are
//! gated.

use super::prelude::*;

/// Layers to one without a window.
const PERIOD: usize = 4;

/// The `afmoe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "afmoe",
    checkpoint_classes: &["AfmoeForCausalLM"],
    model_types: &["afmoe"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnGate, "self_attn.gate_proj"),
            (Role::AttnPostNorm, "post_attention_layernorm"),
            (Role::FfnNorm, "pre_mlp_layernorm"),
            (Role::FfnPostNorm, "post_mlp_layernorm"),
            (Role::FfnGateInp, "mlp.router.gate"),
        ],
        ..Names::PLAIN
    },
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("route_norm", true, false)?;
    made.base(&Defaults { eps: 1e-5, head_dim: Some(128), ..Defaults::RMS })?;
    made.count("attention.sliding_window", "sliding_window")?;
    super::gemma::windows(made, PERIOD)?;
    made.count("leading_dense_block_count", "num_dense_layers")?;
    made.experts(&["num_experts", "num_local_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    made.count("expert_shared_count", "num_shared_experts")?;
    made.f32_or("expert_weights_scale", "route_scale", 1.0)?;
    made.put("expert_weights_norm", Value::Bool(true));
    made.put_count("expert_gating_func", 2)?;
    if made.config.bool("mup_enabled")?.unwrap_or(false) {
        let n_embd = made.config.required_count("hidden_size")?;
        made.put("embedding_scale", Value::F32((n_embd as f32).sqrt()));
    } else {
        made.put("embedding_scale", Value::F32(1.0));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let mut model = super::dots1::spec_with(&base, Scoring::Sigmoid, |i, attention| {
        attention.qk_norm = Some(base.qk_norm());
        attention.gate = Some(AttentionGate::Element);
        attention.window = window.filter(|_| windowed[i]);
        attention.rope = attention.rope.filter(|_| windowed[i]);
    })?;
    for layer in &mut model.layers {
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_post_norm = Some(base.norm);
    }
    // Files of others do not say the scale, and all of these models have it.
    model.embed.scale = keys.f32("embedding_scale")?.unwrap_or((base.n_embd as f32).sqrt());
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "mlp.expert_bias");
        return Ok(Some(Source::whole(slot, vec![name])));
    }
    plain(sources, slot)
}
