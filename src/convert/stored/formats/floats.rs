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
    let block = module.setting("weight_block_size").and_then(|block| {
        let [a, b] = &block.as_array()?[..] else { return None };
        let side =
            |n: &serde_json::Value| n.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        Some([side(a)?, side(b)?])
    });
    Ok(Some(Arc::new(Scaled::new("FP8", names, codes, scales, block.unwrap_or(BLOCK))?)))
}

/// NVFP4 has a scale of E4M3 for every 16 weights and one of a whole tensor, MXFP4 an exponent for every 32.
fn fp4<'a>(module: &Module<'a, '_>, part: &str, codes: TensorView<'a>) -> Made<'a> {
    let Some(scales) = module.find("weight_scale")? else { return Ok(None) };
    let names = [&*module.full(part), &*module.full("weight_scale")];
    let is_mxfp4 = matches!(scales.dtype, SourceType::U8 | SourceType::F8_E8M0);
    if !is_mxfp4 && scales.dtype != SourceType::F8_E4M3 {
        return Ok(None);
    }
    if is_mxfp4 {
        // Exponents that are saved as bytes.
        let scales = scales.with_type(SourceType::F8_E8M0);
        return Ok(Some(Arc::new(Scaled::new("MXFP4", names, codes, scales, [1, 32])?)));
    }
    let factor = |part: &str| -> Result<Option<f32>> {
        module.find(part)?.map(|view| module.number(part, &view)).transpose()
    };
    // compressed-tensors stores the inverse of the tensor's scale, ModelOpt the scale.
    let inverse = factor("weight_global_scale")?.map(|inverse| 1.0 / inverse);
    let Some(of_tensor) = inverse.or(factor("weight_scale_2")?) else {
        return Err(module.unsupported("NVFP4 without the scale of the whole tensor"));
    };
    Ok(Some(Arc::new(Scaled::new("NVFP4", names, codes, scales, [1, 16])?.times(of_tensor))))
}
