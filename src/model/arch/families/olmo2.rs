//! `olmo2`: OLMo 2 and 3: norms behind both parts and of all queries and all keys, none in front; OLMo 3 has
//! windows in three layers of four, whose rotary positions are not stretched.

use super::prelude::*;

/// Layers to one without a window.
const PERIOD: usize = 4;

/// The `olmo2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "olmo2",
    checkpoint_classes: &["Olmo2ForCausalLM", "Olmo3ForCausalLM"],
    model_types: &["olmo2", "olmo3"],
    keys,
    spec,
    names: Names { other: BEHIND, ..Names::PLAIN },
    source: plain,
    promises,
};

const DEFAULTS: Defaults = Defaults { eps: 1e-5, has_kinds: true, ..Defaults::RMS };

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&DEFAULTS)?;
    let has_windows =
        made.config.strings("layer_types")?.is_some_and(|types| types.contains(&"sliding_attention"));
    let is_olmo3 = made.config.string("model_type")? == Some("olmo3");
    if has_windows || is_olmo3 {
        made.count("attention.sliding_window", "sliding_window")?;
        super::gemma::windows(made, PERIOD)?;
    }
    if let Some(own) = made.rope_of_windows(&DEFAULTS)? {
        made.put("rope.freq_base_swa", Value::F32(own.freq_base));
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let layer = |i: usize| {
        let mut layer = base.layer(i, |attention| {
            attention.qk_norm = Some(QkNormSpec { extent: QkNormExtent::Token, ..base.qk_norm() });
            if window.is_some() && windowed[i] {
                attention.window = window;
                attention.rope = Some(RopeUse { index: 1, order: base.order });
            }
        });
        layer.mixer_norm = None;
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_input = FfnInput::Sequential(None);
        layer.ffn_post_norm = Some(base.norm);
        layer
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
