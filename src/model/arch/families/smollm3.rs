//! `smollm3`: SmolLM 3: Llama whose every fourth layer tells no positions apart.

use super::prelude::*;

/// Layers to one without rotary positions.
const PERIOD: usize = 4;

/// The `smollm3` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "smollm3",
    checkpoint_classes: &["SmolLM3ForCausalLM", "SmolLM3Model"],
    model_types: &["smollm3"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_sliding_window", false, true)?;
    let layers = made.config.value("no_rope_layers").and_then(|layers| layers.as_array());
    let is_plain = |layers: &Vec<serde_json::Value>| {
        layers.iter().enumerate().all(|(i, has)| has.as_u64() == Some(u64::from((i + 1) % PERIOD != 0)))
    };
    if layers.is_some_and(|layers| !layers.is_empty() && !is_plain(layers)) {
        return Err(made.unsupported(format!("no_rope_layers other than every {PERIOD}th")));
    }
    made.base(&Defaults { freq_base: 2e6, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let layer = |i: usize| {
        base.layer(i, |attention| {
            if (i + 1).is_multiple_of(PERIOD) {
                attention.rope = None;
            }
        })
    };
    base.model((0..base.n_layer).map(layer).collect())
}
