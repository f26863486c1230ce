//! `qwen2vl`: the text part of Qwen 2 VL, 2.5 VL and 2.5 Omni: Qwen 2, whose positions have three dimensions for images and
//! are plain for text.

use super::prelude::*;

/// The `qwen2vl` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen2vl",
    checkpoint_classes: &[
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2VLModel",
        "Qwen2_5_VLModel",
        "Qwen2_5OmniModel",
        "Qwen2_5OmniForConditionalGeneration",
        "Qwen2_5OmniThinkerForConditionalGeneration",
    ],
    model_types: &[
        "qwen2_vl",
        "qwen2_vl_text",
        "qwen2_5_vl",
        "qwen2_5_vl_text",
        "qwen2_5_omni",
        "qwen2_5_omni_text",
        "qwen2_5_omni_thinker",
    ],
    keys,
    spec: super::qwen2::spec,
    names: Names::PLAIN,
    source: plain,
    promises: super::qwen2::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("use_sliding_window", false, true)?;
    made.base(&Defaults { has_sections: true, ..Defaults::RMS })?;
    sections(made, [16, 24, 24])
}

/// Writes how many rotary frequencies each dimension of positions has, which programs that see images need;
/// `default` is what a silent configuration means.
pub(super) fn sections(made: &mut FromConfig<'_>, default: [i32; 3]) -> Result<()> {
    sections_named(made, &["mrope_section"], &default)
}

/// As [`sections`], which the configuration calls by one of `names`.
pub(super) fn sections_named(made: &mut FromConfig<'_>, names: &[&str], default: &[i32]) -> Result<()> {
    let parameters = made.rope_parameters()?;
    let list = parameters.as_ref().and_then(|rope| names.iter().find_map(|name| rope.value(name)));
    let list = list.and_then(|list| list.as_array());
    let read = list.map(|list| list.iter().filter_map(|n| i32::try_from(n.as_u64()?).ok()).collect());
    let mut sections: Vec<i32> = read.unwrap_or(default.to_vec());
    if sections.len() > N_SECTIONS {
        return Err(
            made.unsupported(format!("mrope_section {sections:?}; positions have at most four dimensions"))
        );
    }
    sections.resize(N_SECTIONS, 0);
    made.put("rope.dimension_sections", Value::I32s(sections));
    Ok(())
}

/// Dimensions of positions in files.
const N_SECTIONS: usize = 4;
