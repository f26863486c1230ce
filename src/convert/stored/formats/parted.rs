//! HQQ, quanto and BitNet, which put rows far apart into one byte.

use std::sync::Arc;

use super::{Made, Module};
use crate::checkpoint::{SourceType, TensorView};
use crate::convert::stored::affine::{Affine, Groups, Zeros as AffineZeros};
use crate::convert::stored::numbers::{Layout, Numbers};
use crate::convert::stored::parted::{Codes, Parted, Sharing, Zeros};
use crate::convert::stored::reshaped::Shaping;
use crate::convert::stored::scaled::Scaled;
use crate::error::Result;

/// What quanto calls codes that share bytes.
pub(super) const PACKED_DATA: &str = "_data._data";

/// What HQQ's modules say of themselves beside.
const OF_HQQ: [&str; 12] = [
    "packing",
    "unpack_view_dtype",
    "view_as_float",
    "quant_scale",
    "quant_zero",
    "compute_dtype",
    "offload_meta",
    "encoded_state_dict",
    "stores_quant_config",
    "channel_wise",
    "optimize",
    "round_zero",
];

/// HQQ: `W_q` with `scale`, `zero`, `nbits`, `axis` and `shape`, each a tensor.
///
/// Along axis 1 the weights are rows of a group each, along axis 0 a group is a column of `group_size` rows.
pub(super) fn hqq<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("W_q")? else { return Ok(None) };
    let integers = |part: &str| -> Result<Vec<usize>> {
        let view = module.need(part)?;
        Ok(module.numbers(part, &view)?.iter().map(|&n| n as usize).collect())
    };
    let one = |part: &str| -> Result<usize> {
        let view = module.need(part)?;
        Ok(module.number(part, &view)? as usize)
    };
    let (bits, axis, shape) = (one("nbits")?, one("axis")?, integers("shape")?);
    let (scales, zeros) = (module.need("scale")?, module.need("zero")?);
    for part in OF_HQQ {
        module.find(part)?;
    }
    let n = match shape[..] {
        [n_out, n_in] => n_out.checked_mul(n_in).filter(|&n| n > 0),
        _ => None,
    };
    let (Some(n), 0 | 1) = (n, axis) else {
        return Err(module.wrong(format!("{} is not the shape of a matrix", module.full("shape"))));
    };
    let group = match module.find("group_size")? {
        Some(view) if view.n_elements() == 1 => module.number("group_size", &view)? as usize,
        _ => n.checked_div(scales.n_elements()).unwrap_or(0),
    };
    let (word_bytes, n_parts) = match bits {
        1 | 2 | 4 | 8 => (1, 8 / bits),
        3 => (4, 10),
        _ => {
            let what = format!("HQQ with codes of {bits} bits, and 1, 2, 3, 4 and 8 can be read");
            return Err(module.unsupported(&what));
        }
    };
    let n_groups = n.checked_div(group).unwrap_or(0);
    if group == 0 || n % group != 0 || scales.n_elements() != n_groups || zeros.n_elements() != n_groups {
        return Err(module.wrong(format!("{} has another number of groups than scales", module.full("W_q"))));
    }
    let (width, sharing) = match axis {
        1 => (group, Sharing::Run(group)),
        _ => (n_groups, Sharing::Column(n_groups)),
    };
    let codes = Codes {
        part_rows: (n / width).div_ceil(n_parts),
        view: codes,
        bits,
        greatest: (1 << bits) - 1,
        word_bytes,
        n_parts,
        is_first_highest: true,
        width,
    };
    check_length(module, "W_q", &codes)?;
    Ok(Some(Arc::new(Parted {
        scheme: ["HQQ-1", "HQQ-2", "HQQ-3", "HQQ-4", "HQQ-8"][bits.min(5) - 1],
        shape: [shape[0], shape[1]],
        codes,
        sharing,
        scales,
        is_inverse: false,
        zeros: Zeros::Floats(zeros),
        shaping: Shaping::Exact,
    })))
}

/// BitNet: a `weight` of bytes with four rows in each, and one `weight_scale`. Layers of its first class divide by the
/// scale, those of "autobitlinear" multiply.
pub(super) fn bitnet<'a>(module: &Module<'a, '_>) -> Made<'a> {
    if module.text("quant_method") != "bitnet" {
        return Ok(None);
    }
    let Some(view) =
        module.find("weight")?.filter(|view| matches!(view.dtype, SourceType::U8 | SourceType::I8))
    else {
        return Ok(None);
    };
    let scales = module.need("weight_scale")?;
    let (&[part_rows, n_in], 1) = (view.shape, scales.n_elements()) else {
        return Err(module.wrong(format!("{} is not a matrix with one scale", module.full("weight"))));
    };
    if part_rows == 0 || n_in == 0 {
        return Err(module.wrong(format!("{} has no weights", module.full("weight"))));
    }
    let shape = [4 * part_rows, n_in];
    let codes = Codes {
        view,
        bits: 2,
        // Of three values: no code is the fourth.
        greatest: 2,
        word_bytes: 1,
        n_parts: 4,
        is_first_highest: false,
        part_rows,
        width: n_in,
    };
    Ok(Some(Arc::new(Parted {
        scheme: "BitNet",
        shape,
        codes,
        sharing: Sharing::Run(shape[0] * n_in),
        scales,
        is_inverse: module.text("linear_class") != "autobitlinear",
        zeros: Zeros::Fixed(1.0),
        shaping: Shaping::Exact,
    })))
}

/// quanto's codes of two or four bits: `weight._data._data` with `weight._scale` and `weight._shift`. Weights in a row are
/// rows of a group each, and of how many of these a row of the matrix is, only config.json says.
pub(super) fn quanto_bits<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find(PACKED_DATA)? else { return Ok(None) };
    let (scales, shifts) = (module.need("_scale")?, module.need("_shift")?);
    let (&[part_rows, width], n_groups) = (codes.shape, scales.n_elements()) else {
        return Err(module.wrong(format!("{} is not a matrix of groups", module.full(PACKED_DATA))));
    };
    let n_parts = n_groups.checked_div(part_rows).unwrap_or(0);
    let is_first_axis = scales.shape.last() == Some(&1);
    let is_sound =
        matches!(n_parts, 2 | 4) && n_groups == n_parts * part_rows && shifts.n_elements() == n_groups;
    if !is_sound || width == 0 {
        let what = format!(
            "{} of {part_rows} rows does not go with {n_groups} scales and {} shifts: a byte holds two or four groups'",
            module.full(PACKED_DATA),
            shifts.n_elements()
        );
        return Err(module.wrong(what));
    }
    if !is_first_axis || codes.dtype != SourceType::U8 {
        return Err(module.unsupported("quanto's groups along the outputs"));
    }
    let bits = 8 / n_parts;
    let zeros = if shifts.dtype.is_plain_float() { Zeros::Shifts(shifts) } else { Zeros::Floats(shifts) };
    Ok(Some(Arc::new(Parted {
        scheme: if bits == 4 { "INT4" } else { "INT2" },
        shape: [n_groups, width],
        codes: Codes {
            view: codes,
            bits,
            greatest: (1 << bits) - 1,
            word_bytes: 1,
            n_parts,
            is_first_highest: false,
            part_rows,
            width,
        },
        sharing: Sharing::Run(width),
        scales,
        is_inverse: false,
        zeros,
        shaping: Shaping::Flat,
    })))
}

/// quanto: `weight._data` with `weight._scale`; codes of 8 bits as they are, floats of 8 bits too.
pub(super) fn quanto<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let (Some(codes), Some(scales)) = (module.find("_data")?, module.find("_scale")?) else {
        return Ok(None);
    };
    let names = [module.full("_data"), module.full("_scale")];
    let &[n_out, n_in] = codes.shape else { return Ok(None) };
    if codes.dtype != SourceType::I8 {
        let names = names.each_ref().map(String::as_str);
        return Ok(Some(Arc::new(Scaled::new(
            "FP8",
            names,
            (codes, codes.dtype),
            scales,
            [1, n_in.max(1)],
        )?)));
    }
    let plain = Layout::default();
    Ok(Some(Arc::new(Affine {
        scheme: "INT8",
        shape: vec![n_out, n_in],
        codes: Numbers::new(&names[0], codes, plain, [n_out, n_in])?,
        code_range: (-128, 127),
        scales: Numbers::new(&names[1], scales, plain, [n_out, 1])?,
        scale_factor: 1.0,
        zeros: AffineZeros::Fixed(0.0),
        groups: Groups::Of(n_in),
        shaping: Shaping::Exact,
    })))
}

/// Whether a tensor has the words that its codes need.
fn check_length(module: &Module<'_, '_>, part: &str, codes: &Codes<'_>) -> Result<()> {
    let needed = codes.part_rows.checked_mul(codes.width * codes.word_bytes);
    let view: &TensorView<'_> = &codes.view;
    if needed.is_some_and(|needed| needed as u64 <= view.n_bytes) {
        return Ok(());
    }
    let (name, shape) = (module.full(part), view.shape);
    Err(module.wrong(format!("tensor {name} of shape {shape:?} has fewer codes than its shape needs")))
}
