//! `gpt-oss`: OpenAI's open models of 2025: every other layer has a window, heads have sinks, experts have
//! biases and a bounded gate; probabilities are those of the chosen experts alone.

use super::prelude::*;

/// Layers to one without a window.
const PERIOD: usize = 2;

/// The `gpt-oss` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gpt-oss",
    checkpoint_classes: &["GptOssForCausalLM"],
    model_types: &["gpt_oss"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnSinks, "self_attn.sinks"),
            (Role::FfnGateInp, "mlp.router"),
            // GGUF calls the norm before the experts by what it comes after.
            (Role::AttnPostNorm, "post_attention_layernorm"),
        ],
        packing: Some(PACKING),
        ..Names::PLAIN
    },
    source,
    promises: |config| {
        Ok(Promises { qkv_bias: Promise::There, output_bias: Promise::There, ..promises(config)? })
    },
};

/// How the published checkpoints hold experts.
const PACKING: &str = "mxfp4";

/// The slope and the bound of the experts' gates, which files do not say.
const GATE: Gate = Gate::ClampedSilu { alpha: 1.702, limit: 7.0 };

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.base(&Defaults { eps: 1e-5, freq_base: 150_000.0, head_dim: Some(64), ..Defaults::RMS })?;
    made.experts(&["num_local_experts", "num_experts"])?;
    made.count("expert_feed_forward_length", "intermediate_size")?;
    made.count("attention.sliding_window", "sliding_window")?;
    super::gemma::windows(made, PERIOD)?;
    let rope = made.rope_parameters()?.map(|rope| rope.bool("truncate")).transpose()?.flatten();
    if rope.unwrap_or(true) {
        made.put("rope.scaling.yarn_truncate", Value::Bool(true));
    }
    made.refuse_number("swiglu_alpha", 1.702)?;
    if let Some(limit) = made.config.f32("swiglu_limit")?.filter(|&limit| limit != 7.0) {
        made.put("swiglu_limit", Value::F32(limit));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, GATE)?;
    if let Some(limit) = keys.f32("swiglu_limit")? {
        base.activation = Gate::ClampedSilu { alpha: 1.702, limit };
    }
    if let RopeScaling::Yarn { truncated, .. } = &mut base.rope.scaling {
        // Files of others do not say it, and the published models do not round.
        *truncated = keys.bool("rope.scaling.yarn_truncate")?.unwrap_or(false);
    }
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.expert.has_bias = true;
    experts.router.has_bias = true;
    experts.router.scoring = Scoring::SoftmaxOfChosen;
    experts.router.is_normalised = false;
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.window = window.filter(|_| windowed[i]);
        attention.has_sinks = true;
        let mut layer = base.layer_of(attention, FfnSpec::Experts(experts.clone()));
        layer.ffn_norm_role = Role::AttnPostNorm;
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// The experts' gate and up lie in one tensor, as every other of its columns.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let (name, first, step) = match slot.id.role {
        Role::FfnGateExps => ("gate_up_proj", 0, 2),
        Role::FfnUpExps => ("gate_up_proj", 1, 2),
        Role::FfnDownExps => ("down_proj", 0, 1),
        Role::AttnSinks => {
            let name = sources.in_layer(slot, "self_attn.sinks");
            return Ok(Some(Source::whole(slot, vec![name])));
        }
        _ => return plain(sources, slot),
    };
    let stem = sources.in_layer(slot, &format!("mlp.experts.{name}"));
    let (n_expert, n_out) = (slot.shape[0], slot.shape[1]);
    if slot.id.suffix == Suffix::Bias {
        let whole = Source::whole(slot, vec![format!("{stem}_bias")]).with_shape(&[n_expert, n_out * step]);
        return Ok(Some(whole.with_rows(RowMap::Spread { first, step })));
    }
    let quantization = sources.config.object("quantization_config")?;
    if quantization.is_some_and(|of| of.string("quant_method").ok().flatten() == Some(PACKING)) {
        let (codes, exponents) = (format!("{stem}_blocks"), format!("{stem}_scales"));
        return Ok(Some(Source::Mxfp4 { codes, exponents, first, step }));
    }
    let n_in = slot.shape[2];
    let rows = RowMap::Columns { n_out, n_cols: n_out * step, first, step, skipped: 0 };
    Ok(Some(Source::whole(slot, vec![stem]).with_shape(&[n_expert, n_in, n_out * step]).with_rows(rows)))
}
