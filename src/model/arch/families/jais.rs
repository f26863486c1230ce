//! `jais`: Jais 1: GPT-2 whose scores fall with the distance, with gated feed-forward parts, and widths that scale the
//! embedding, the scores and the logits.

use super::prelude::*;

/// The `jais` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "jais",
    checkpoint_classes: &["JAISLMHeadModel"],
    model_types: &["jais"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TokenEmbd, "transformer.wte"),
            (Role::OutputNorm, "transformer.ln_f"),
            (Role::AttnNorm, "ln_1"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attn.c_attn"),
            (Role::AttnOutput, "attn.c_proj"),
            (Role::FfnNorm, "ln_2"),
            (Role::FfnGate, "mlp.c_fc2"),
            (Role::FfnUp, "mlp.c_fc"),
            (Role::FfnDown, "mlp.c_proj"),
        ],
        left_out: &["relative_pe."],
        ..super::gpt2::NAMES
    },
    source,
    // The output matrix is the embedding, but scaled otherwise.
    promises: |config| Ok(Promises { is_tied: Some(false), ..super::gpt2::promises(config)? }),
};

/// The greatest bias of scores.
const BIAS: &str = "attention.max_alibi_bias";

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["activation_function"], "swiglu", &["swiglu"])?;
    made.activation(&["position_embedding_type"], "alibi", &["alibi"])?;
    let is_by_length = made.first_of(&["mup_scale_qk_dot_by_d", "scale_qk_dot_by_d"]);
    made.refuse(is_by_length, true, false)?;
    for flag in ["scale_attn_by_inverse_layer_idx", "alibi_scaling"] {
        if made.config.value(flag).is_some_and(|value| !value.is_null() && value.as_bool() != Some(false)) {
            return Err(made.unsupported(format!("{flag}, which the jais architecture cannot express")));
        }
    }
    made.base(&super::gpt2::DEFAULTS)?;
    made.put(BIAS, Value::F32(8.0));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::Silu)?;
    let alibi = keys.f32(BIAS)?.filter(|&bias| bias > 0.0);
    let layer = |i| {
        base.layer(i, |attention| {
            attention.rope = None;
            attention.alibi = alibi;
            attention.scale = 1.0 / attention.head_dim_k as f32;
        })
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}

/// Matrices are turned; what scales embedding and logits goes into them.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let config = sources.config;
    let number = |name: &str| Ok::<_, crate::Error>(config.f32(name)?.unwrap_or(1.0));
    match (slot.id.role, slot.id.suffix) {
        (Role::TokenEmbd, _) => {
            let scale = match config.f32("mup_embeddings_scale")? {
                Some(scale) => scale,
                None => number("embeddings_scale")?,
            };
            Ok(plain(sources, slot)?.map(|source| source.with_values(ValueMap::Times(scale))))
        }
        (Role::Output, Suffix::Weight) => {
            let scale = match config.f32("mup_output_alpha")? {
                Some(alpha) => alpha * number("mup_width_scale")?,
                None => number("width_scale")?,
            };
            let names = ["lm_head.weight", "transformer.wte.weight"].map(str::to_owned);
            Ok(Some(Source::whole(slot, names.to_vec()).with_values(ValueMap::Times(scale))))
        }
        (Role::FfnGate, Suffix::Weight) => {
            Ok(plain(sources, slot)?.map(|source| super::gpt2::turned(source, slot)))
        }
        _ => super::gpt2::source(sources, slot),
    }
}
