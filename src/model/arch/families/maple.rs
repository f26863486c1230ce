//! `maple`: Maple: layers of experts with bounded gates; positions are told apart only in those with windows.

use super::prelude::*;

/// Layers to one without a window, where a file does not say.
const PERIOD: usize = 4;

/// The bound of the experts' gates, which configurations do not say.
const LIMIT: f32 = 7.0;

/// The `maple` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "maple",
    checkpoint_classes: &["MapleForCausalLM"],
    model_types: &["maple"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("norm_topk_prob", true, false)?;
    made.refuse("nope_on_global_attention", false, false)?;
    if made.config.count("num_shared_experts")?.is_some_and(|n| n > 0) {
        return Err(made.unsupported("num_shared_experts; the maple architecture has none".into()));
    }
    made.base(&Defaults { partial: Partial::Allowed(1.0), ..Defaults::RMS })?;
    made.count("attention.sliding_window", "sliding_window")?;
    super::gemma::windows(made, PERIOD)?;
    made.experts(&["num_experts", "num_local_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    let limits = vec![LIMIT; made.n_layer()?];
    made.put("swiglu_clamp_exp", Value::F32s(limits));
    Ok(())
}

/// `[n_layer]`: the bounds of gates under `key`, which may be stated once for all; 0 for none.
pub(super) fn bounds(base: &Base<'_>, key: &str) -> Result<Vec<f32>> {
    match base.keys.f32s(key, base.n_layer) {
        Ok(bounds) => Ok(bounds.unwrap_or_else(|| vec![0.0; base.n_layer])),
        Err(error) => match base.keys.f32(key) {
            Ok(Some(bound)) => Ok(vec![bound; base.n_layer]),
            _ => Err(error),
        },
    }
}

/// SiLU within `limit`, if that is a bound.
pub(super) fn silu(limit: f32, is_before: bool) -> Gate {
    if limit > 0.0 { Gate::BoundedSilu { limit, is_before } } else { Gate::Silu }
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    let limits = bounds(&base, "swiglu_clamp_exp")?;
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        attention.window = window.filter(|_| windowed[i]);
        attention.rope = attention.rope.filter(|_| windowed[i]);
        let mut experts = experts.clone();
        experts.expert.activation = silu(limits[i], true);
        base.layer_of(attention, FfnSpec::Experts(experts))
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes[0].freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(base.rope.freq_base);
    Ok(model)
}
