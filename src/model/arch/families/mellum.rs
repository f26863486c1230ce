//! `mellum`: Mellum 2: experts in every layer, windows in some, which have rotary positions of their own; norms of
//! heads.

use super::prelude::*;

/// The `mellum` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "mellum",
    checkpoint_classes: &["MellumForCausalLM"],
    model_types: &["mellum"],
    keys,
    spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

/// Layers to one without a window.
const PERIOD: usize = 4;

const DEFAULTS: Defaults = Defaults { has_kinds: true, ..Defaults::RMS };

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("norm_topk_prob", true, false)?;
    made.base(&DEFAULTS)?;
    made.experts(&["num_local_experts", "num_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    if let Some(window) = made.config.count("sliding_window")?.filter(|&n| n > 0) {
        made.put_count("attention.sliding_window", window)?;
        super::gemma::windows(made, PERIOD)?;
    }
    if let Some(own) = made.rope_of_windows(&DEFAULTS)? {
        made.put("rope.freq_base_swa", Value::F32(own.freq_base));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        if window.is_some() && windowed[i] {
            attention.window = window;
            attention.rope = Some(RopeUse { index: 1, order: base.order });
        }
        base.layer_of(attention, FfnSpec::Experts(experts.clone()))
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    let freq_base = keys.f32("rope.freq_base_swa")?.unwrap_or(base.rope.freq_base);
    model.ropes.push(RopeSpec {
        freq_base,
        scaling: RopeScaling::None,
        factors: RopeFactors::Never,
        ..base.rope.clone()
    });
    Ok(model)
}
