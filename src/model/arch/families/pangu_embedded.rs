//! `pangu-embedded`: openPangu Embedded: Llama with biases of attention, and rotary positions over halves.

use super::prelude::*;

/// The `pangu-embedded` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "pangu-embedded",
    checkpoint_classes: &["PanguEmbeddedForCausalLM"],
    model_types: &["PanguEmbedded", "pangu_embedded"],
    keys,
    spec: super::qwen2::spec,
    names: Names::PLAIN,
    source: plain,
    promises: |config| {
        let bias = Promise::of(config.bool("bias")?.unwrap_or(true));
        Ok(Promises { qkv_bias: bias, output_bias: bias, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })
}
