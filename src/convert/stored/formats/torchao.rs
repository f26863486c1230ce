//! torchao: a tensor of weights is saved as its parts, `_weight_qdata` with `_weight_scale` and more.

use std::sync::Arc;

use super::{Made, Module, is_float_8, kernels};
use crate::checkpoint::SourceType;
use crate::convert::stored::affine::{Affine, Groups, Zeros};
use crate::convert::stored::numbers::{Along, Layout, Numbers};
use crate::convert::stored::reshaped::Shaping;
use crate::convert::stored::scaled::Scaled;

/// Int8Tensor and IntxUnpackedToInt8Tensor (a byte for a code), Int4Tensor (two in a byte, the first low) and
/// Float8Tensor. What they put in the order of one kernel cannot be read.
pub(super) fn torchao<'a>(module: &Module<'a, '_>) -> Made<'a> {
    const PARTS: [&str; 3] = ["_weight_qdata", "_weight_scale", "_weight_zero_point"];
    let Some(codes) = module.find(PARTS[0])? else { return Ok(None) };
    if codes.shape.len() == 4 {
        return kernels::tensor_cores(module, codes);
    }
    let of_kernels = module.find_any(&["_weight_scale_and_zero", "_weight_act_pre_scale"])?;
    let (&[n_out, inner], None) = (codes.shape, of_kernels) else {
        return Err(
            module.unsupported("torchao's weights in the order of a kernel; save plain int4, int8 or float8")
        );
    };
    let (scales, zeros) = (module.need(PARTS[1])?, module.find(PARTS[2])?);
    let names = PARTS.map(|part| module.full(part));
    if is_float_8(codes.dtype) {
        let block = match scales.shape {
            &[rows, columns] if rows > 0 && columns > 0 => [n_out.div_ceil(rows), inner.div_ceil(columns)],
            _ => [n_out, inner],
        };
        let names = [&*names[0], &*names[1]];
        let codes = (codes, codes.dtype);
        return Ok(Some(Arc::new(Scaled::new("FP8", names, codes, scales, block.map(|n| n.max(1)))?)));
    }
    // Codes of four bits have scales for each group of each row, and bytes have them the other way round.
    let is_int4 = scales.shape.len() == 2 && scales.shape[1] == n_out && scales.shape[0] != n_out;
    let (n_in, n_groups) = match (is_int4, scales.shape) {
        (true, &[n_groups, _]) => (2 * inner, n_groups),
        (false, &[_, n_groups]) => (inner, n_groups),
        _ => (inner, 1),
    };
    if n_in == 0 || n_groups == 0 || codes.dtype.element_bits() != 8 {
        return Err(module.wrong(format!("{} is not a matrix of codes", names[0])));
    }
    let turned = Layout { is_turned: is_int4, ..Layout::default() };
    let of_groups = |i: usize, view| Numbers::new(&names[i], view, turned, [n_out, n_groups]);
    let (layout, codes, code_range) = match is_int4 {
        true => {
            let packed = Some((4, Along::Inner));
            (
                Layout { packed, is_signed: true, ..Layout::default() },
                codes.with_type(SourceType::U8),
                (0, 15),
            )
        }
        false => (Layout::default(), codes.with_type(SourceType::I8), (-128, 127)),
    };
    let zeros = match (zeros, is_int4) {
        (None, is_int4) => Zeros::Fixed(if is_int4 { 8.0 } else { 0.0 }),
        (Some(view), true) => Zeros::Biases { numbers: of_groups(2, view)?, centre: 8.0 },
        (Some(view), false) => Zeros::Floats(of_groups(2, view)?),
    };
    Ok(Some(Arc::new(Affine {
        scheme: if is_int4 { "INT4" } else { "INT8" },
        shape: vec![n_out, n_in],
        codes: Numbers::new(&names[0], codes, layout, [n_out, n_in])?,
        code_range,
        scales: of_groups(1, scales)?,
        scale_factor: 1.0,
        zeros,
        groups: Groups::Of(n_in.div_ceil(n_groups)),
        shaping: Shaping::Exact,
    })))
}
