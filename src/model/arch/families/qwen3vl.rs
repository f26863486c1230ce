//! `qwen3vl`: the text part of Qwen 3 VL: Qwen 3, whose positions have three dimensions for images and are plain
//! for text.

use super::prelude::*;

/// The `qwen3vl` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen3vl",
    checkpoint_classes: &["Qwen3VLForConditionalGeneration", "Qwen3VLModel"],
    model_types: &["qwen3_vl", "qwen3_vl_text"],
    keys,
    spec: super::qwen3::spec,
    names: Names::PLAIN,
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { head_dim: Some(128), freq_base: 5e6, has_sections: true, ..Defaults::RMS })?;
    images(made)
}

/// Writes what programs need that see images as well: the dimensions of positions, and how many layers get a part
/// of an image each.
pub(super) fn images(made: &mut FromConfig<'_>) -> Result<()> {
    super::qwen2vl::sections(made, [24, 20, 20])?;
    let vision = made.whole.object("vision_config")?;
    let layers = vision.as_ref().and_then(|vision| vision.value("deepstack_visual_indexes"));
    let n = layers.and_then(|layers| layers.as_array()).map_or(0, Vec::len);
    made.put_count("n_deepstack_layers", n)
}
