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
    let scores = |class: &&str| class.ends_with("ForSequenceClassification");
    if made.whole.strings("architectures")?.unwrap_or_default().iter().any(scores) {
        return Err(made.unsupported(
            "scores of the mean of all positions, which the llama-embed architecture cannot express"
                .to_owned(),
        ));
    }
    if let Some(other) = made.config.string("pooling")?.filter(|pooling| *pooling != "avg") {
        return Err(made.unsupported(format!(
            "the pooling {other:?}; the llama-embed architecture takes the mean (avg)"
        )));
    }
    made.base(&Defaults::RMS)?;
    encoder::keys(made, 0)
}
