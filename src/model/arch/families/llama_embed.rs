//! `llama-embed`: Llama whose positions see the whole text (NVIDIA's Llama Embed Nemotron).

use super::prelude::*;

/// The `llama-embed` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "llama-embed",
    checkpoint_classes: &["LlamaBidirectionalModel"],
    model_types: &["llama_bidirec"],
    keys,
    spec: |keys| Ok(encoder::of_decoder(super::llama::spec(keys)?)),
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::RMS)?;
    encoder::keys(made, 0)
}
