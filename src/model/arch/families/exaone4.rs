//! `exaone4`: EXAONE 4: norms behind both parts and of heads; the 32B has windows, and no positions where it has
//! none.

use super::prelude::*;

/// The `exaone4` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "exaone4",
    checkpoint_classes: &["Exaone4ForCausalLM"],
    model_types: &["exaone4"],
    keys,
    spec,
    names: Names { other: BEHIND, ..Names::PLAIN },
    source: plain,
    promises,
};

/// Layers to one without a window.
const PERIOD: usize = 4;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })?;
    // Layers without a window have positions only where no layer has one.
    if made.config.count("sliding_window")?.is_some() {
        made.count("attention.sliding_window", "sliding_window")?;
        super::gemma::windows(made, PERIOD)?;
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    let layer = |i: usize| {
        let mut layer = base.layer(i, |attention| {
            attention.qk_norm = Some(base.qk_norm());
            if window.is_some() {
                attention.window = window.filter(|_| windowed[i]);
                attention.rope = attention.rope.filter(|_| windowed[i]);
            }
        });
        layer.mixer_norm = None;
        layer.mixer_post_norm = Some(base.norm);
        layer.ffn_input = FfnInput::Sequential(None);
        layer.ffn_post_norm = Some(base.norm);
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}
