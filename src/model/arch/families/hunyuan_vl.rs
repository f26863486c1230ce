//! `hunyuan_vl`: the text part of HunyuanOCR: Hunyuan, whose positions have four dimensions for images and are plain for
//! text.

use super::prelude::*;

/// The `hunyuan_vl` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "hunyuan_vl",
    checkpoint_classes: &["HunYuanVLForConditionalGeneration"],
    model_types: &["hunyuan_vl", "hunyuan_vl_text"],
    keys,
    spec,
    names: super::hunyuan_dense::NAMES,
    source: plain,
    promises: super::gemma::promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    super::hunyuan_dense::keys(made)?;
    let head_dim = made.head_dim(&super::hunyuan_dense::DEFAULTS)?;
    // A quarter of the frequencies for each dimension, unless the configuration says otherwise.
    let quarter = i32::try_from(head_dim / 8).unwrap_or(0);
    super::qwen2vl::sections_named(made, &["mrope_section", "xdrope_section"], &[quarter; 4])
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let mut base = super::hunyuan_dense::base(keys)?;
    // Files of others keep the plain base, and say what stretches it.
    if let Some(alpha) = keys.f32("rope.scaling.alpha")?.filter(|&alpha| alpha > 0.0) {
        base.rope.freq_base = super::hunyuan_dense::stretched(base.rope.freq_base, alpha, base.head_dim_k);
    }
    super::hunyuan_dense::spec_of(&base)
}
