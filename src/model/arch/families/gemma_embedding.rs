//! `gemma-embedding`: Gemma 3 whose positions see the whole text, or a window around them.

use super::prelude::*;

/// The `gemma-embedding` family: a variant of `gemma3`.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gemma-embedding",
    checkpoint_classes: &[],
    model_types: &[],
    keys: |made| {
        super::gemma3::keys(made)?;
        encoder::keys(made, 0)
    },
    spec: |keys| Ok(encoder::of_decoder(super::gemma3::spec(keys)?)),
    ..super::gemma3::FAMILY
};

/// Whether a configuration of Gemma 3 means an encoder.
///
/// # Errors
/// [`crate::Error::Malformed`] if it does not say true or false.
pub(super) fn is_meant(config: &Config) -> Result<bool> {
    Ok(config.bool("use_bidirectional_attention")?.unwrap_or(false))
}
