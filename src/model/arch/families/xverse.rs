//! `xverse`: XVERSE 7B to 65B: Llama.

use super::prelude::*;

/// The `xverse` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "xverse",
    checkpoint_classes: &["XverseForCausalLM"],
    model_types: &["xverse"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let n_ctx_name = made.first_of(&["max_position_embeddings", "max_tokenizer_truncation"]);
    made.base(&Defaults { n_ctx_name, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}
