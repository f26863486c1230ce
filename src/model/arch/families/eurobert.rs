//! `eurobert`: Llama, rotary positions over halves, whose positions see the whole text.

use super::prelude::*;

/// The `eurobert` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "eurobert",
    checkpoint_classes: &["EuroBertModel", "EuroBertForMaskedLM", "JinaEmbeddingsV5Model"],
    model_types: &["eurobert"],
    keys,
    spec,
    names: Names { left_out: &["lm_head."], ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, freq_base: 2.5e5, ..Defaults::RMS })?;
    encoder::keys(made, 0)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    encoder::model(&base, (0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
