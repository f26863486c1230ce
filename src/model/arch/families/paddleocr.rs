//! `paddleocr`: the text part of PaddleOCR-VL: ERNIE 4.5 0.3B with the rotary order of halves, whose positions have three
//! dimensions for images and are plain for text.

use super::prelude::*;

/// The `paddleocr` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "paddleocr",
    checkpoint_classes: &["PaddleOCRVLForConditionalGeneration"],
    model_types: &["paddleocr_vl", "paddleocr_vl_text"],
    keys,
    spec: super::qwen2::spec,
    names: Names::PLAIN,
    source: plain,
    promises: super::ernie4_5::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults {
        eps: 1e-5,
        freq_base: 5e5,
        head_dim: Some(128),
        has_sections: true,
        ..Defaults::RMS
    })?;
    super::qwen2vl::sections(made, [16, 24, 24])
}
