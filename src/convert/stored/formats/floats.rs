//! Floats of eight and four bits with scales, as DeepSeek, Mistral, ModelOpt and compressed-tensors spell them.

use std::sync::Arc;

use super::{Made, Module, is_float_8};
use crate::checkpoint::{SourceType, TensorView};
use crate::convert::stored::scaled::Scaled;
use crate::error::Result;

/// What the scales of a `weight` are called; all of them multiply, also those called inverse.
const SCALES: [&str; 5] = ["weight_scale_inv", "weight_scale", "scale", "scale_inv", "qscale_weight"];

/// Outputs and inputs that share a scale where config.json does not say it.
const BLOCK: [usize; 2] = [128, 128];

/// A `weight` of FP8, or of FP4 in bytes.
pub(super) fn floats<'a>(module: &Module<'a, '_>) -> Made<'a> {
    if let Some(codes) = module.find("weight_packed")?.filter(|codes| codes.dtype == SourceType::U8) {
        return fp4(module, "weight_packed", codes);
    }
    let Some(codes) = module.find("weight")? else { return Ok(None) };
    if codes.dtype == SourceType::U8 {
        return fp4(module, "weight", codes);
    }
    let scales = module.find_any(&SCALES)?;
    // Without scales they are plain numbers.
    let (Some((name, scales)), true) = (scales, is_float_8(codes.dtype)) else { return Ok(None) };
    scaled(module, [&module.full("weight"), &name], codes, scales)
}

/// MLX's floats in words, modes "mxfp4", "mxfp8" and "nvfp4": `weight` with `scales` of bytes, which tell the mode by
/// their number.
pub(super) fn in_words<'a>(
    module: &Module<'a, '_>,
    codes: TensorView<'a>,
    scales: TensorView<'a>,
) -> Made<'a> {
    let names = [&*module.full("weight"), &*module.full("scales")];
    let (&[.., n_words], &[.., n_groups]) = (codes.shape, scales.shape) else { return Ok(None) };
    let words = if n_groups > 0 && n_words % n_groups == 0 { n_words / n_groups } else { 0 };
    let (scheme, element, group) = match words {
        2 => ("NVFP4", SourceType::F4, 16),
        4 => ("MXFP4", SourceType::F4, 32),
        8 => ("FP8", SourceType::F8_E4M3, 32),
        _ => {
            let what = format!(
                "{} of shape {:?} and {} of shape {:?} are not MLX's mxfp4 (4 words to a scale), mxfp8 (8) or nvfp4 (2)",
                names[0], codes.shape, names[1], scales.shape
            );
            return Err(module.wrong(what));
        }
    };
    let kind = if scheme == "NVFP4" { SourceType::F8_E4M3 } else { SourceType::F8_E8M0 };
    Ok(Some(Arc::new(Scaled::new(scheme, names, (codes, element), scales.with_type(kind), [1, group])?)))
}

/// A parameter of FP8 that is not called `weight`, such as a stack of experts: its scales have its name and more.
pub(super) fn parameter<'a>(module: &Module<'a, '_>, part: &str, codes: TensorView<'a>) -> Made<'a> {
    let names =
        ["_scale_inv", "_scale", "_weight_scale_inv", "_weight_scale"].map(|end| format!("{part}{end}"));
    let Some((name, scales)) = module.find_any(&names.each_ref().map(String::as_str))? else {
        return Ok(None);
    };
    module.find(part)?;
    scaled(module, [&module.full(part), &name], codes, scales)
}

fn scaled<'a>(
    module: &Module<'a, '_>,
    names: [&str; 2],
    codes: TensorView<'a>,
    scales: TensorView<'a>,
) -> Made<'a> {
    refuse_zero_points(module)?;
    let of_some = module.settings_of_some("block_structure");
    let blocks = module.setting("weight_block_size").into_iter().chain(of_some).filter_map(sides);
    let fits = |&[height, width]: &[usize; 2]| {
        let ([.., n_out, n_in], [.., rows, columns]) = (codes.shape, scales.shape) else { return false };
        *rows == n_out.div_ceil(height) && *columns == n_in.div_ceil(width)
    };
    let blocks: Vec<[usize; 2]> = blocks.collect();
    let block = blocks.iter().find(|block| fits(block)).or(blocks.first()).copied();
    // Exponents that are saved as bytes: MXFP8.
    let is_exponents = matches!(scales.dtype, SourceType::U8 | SourceType::F8_E8M0);
    let scales = if is_exponents { scales.with_type(SourceType::F8_E8M0) } else { scales };
    let block = block.or_else(|| block_of(codes.shape, scales.shape)).unwrap_or(BLOCK);
    Ok(Some(Arc::new(Scaled::new("FP8", names, (codes, codes.dtype), scales, block)?)))
}

/// The sides of a block: `[128, 64]` or `"128x64"`.
fn sides(block: &serde_json::Value) -> Option<[usize; 2]> {
    let [height, width] = match block {
        serde_json::Value::String(sides) => {
            let (height, width) = sides.split_once('x')?;
            [height.trim().parse().ok()?, width.trim().parse().ok()?]
        }
        _ => {
            let [height, width] = &block.as_array()?[..] else { return None };
            [height, width].map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0))
        }
    };
    (height > 0 && width > 0).then_some([height, width])
}

/// Refuses floats that are not their codes times scales. Some programs save zero points that are all 0.
fn refuse_zero_points(module: &Module<'_, '_>) -> Result<()> {
    const PART: &str = "weight_zero_point";
    let Some(view) = module.find(PART)? else { return Ok(()) };
    if module.numbers(PART, &view)?.iter().all(|&zero| zero == 0.0) {
        return Ok(());
    }
    Err(module.unsupported("floats with zero points, which cannot be read"))
}

/// Outputs and inputs that share a scale where [`BLOCK`] is not what they are and scales divide the matrix evenly.
fn block_of(codes: &[usize], scales: &[usize]) -> Option<[usize; 2]> {
    let ([.., n_out, n_in], [.., rows, columns]) = (codes, scales) else { return None };
    let is_usual = *rows == n_out.div_ceil(BLOCK[0]) && *columns == n_in.div_ceil(BLOCK[1]);
    let is_even = *rows > 0 && *columns > 0 && n_out.is_multiple_of(*rows) && n_in.is_multiple_of(*columns);
    (is_even && !is_usual && codes.len() == scales.len()).then(|| [n_out / rows, n_in / columns])
}

/// NVFP4 has a scale of E4M3 for every 16 weights and one of a whole tensor, MXFP4 an exponent for every 32.
fn fp4<'a>(module: &Module<'a, '_>, part: &str, codes: TensorView<'a>) -> Made<'a> {
    let Some(scales) = module.find("weight_scale")? else { return Ok(None) };
    let names = [&*module.full(part), &*module.full("weight_scale")];
    let is_mxfp4 = matches!(scales.dtype, SourceType::U8 | SourceType::F8_E8M0);
    if module.text("data_type").starts_with("mx_int") {
        return Err(
            module.unsupported("AutoRound's MXINT4, which cannot be read; convert the original model")
        );
    }
    if !is_mxfp4 && scales.dtype != SourceType::F8_E4M3 {
        return Ok(None);
    }
    if is_mxfp4 {
        // Exponents that are saved as bytes.
        let scales = scales.with_type(SourceType::F8_E8M0);
        return Ok(Some(Arc::new(Scaled::new("MXFP4", names, (codes, SourceType::F4), scales, [1, 32])?)));
    }
    let factor = |part: &str| -> Result<Option<f32>> {
        module.find(part)?.map(|view| module.number(part, &view)).transpose()
    };
    // compressed-tensors stores the inverse of the tensor's scale, ModelOpt the scale.
    let inverse = factor("weight_global_scale")?.map(|inverse| 1.0 / inverse);
    let Some(of_tensor) = inverse.or(factor("weight_scale_2")?) else {
        return Err(module.unsupported("NVFP4 without the scale of the whole tensor"));
    };
    let codes = (codes, SourceType::F4);
    Ok(Some(Arc::new(Scaled::new("NVFP4", names, codes, scales, [1, 16])?.times(of_tensor))))
}
