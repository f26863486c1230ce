//! Integers with scales: compressed-tensors, MLX, torchao's and LLM.int8()'s bytes, BitNet.

use std::sync::Arc;

use super::{Made, Module};
use crate::checkpoint::SourceType;
use crate::convert::stored::affine::{Affine, Groups, Zeros};
use crate::convert::stored::numbers::{Along, Layout, Numbers};
use crate::convert::stored::reshaped::Shaping;

/// compressed-tensors: `weight_packed` along the inputs, codes that count from half of their range, `weight_scale`
/// `[n_out, n_groups]`, perhaps `weight_zero_point` packed along the outputs.
pub(super) fn compressed<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("weight_packed")?.filter(|codes| codes.dtype == SourceType::I32) else {
        return Ok(None);
    };
    let (scales, shape) = (module.need("weight_scale")?, module.need("weight_shape")?);
    let shape: Vec<usize> = module.numbers("weight_shape", &shape)?.iter().map(|&n| n as usize).collect();
    let (&[n_out, n_in], &[_, n_words], &[_, n_groups]) = (&shape[..], codes.shape, scales.shape) else {
        return Err(
            module.wrong(format!("{} is not a matrix of words with scales", module.full("weight_packed")))
        );
    };
    if n_in == 0 || n_groups == 0 {
        return Err(module.wrong(format!("{} says that there are no weights", module.full("weight_shape"))));
    }
    // The greatest number of bits that fits so many words is the one, since words are filled.
    let bits = n_words * 32 / n_in;
    if !(1..=8).contains(&bits) {
        return Err(module.unsupported(&format!("codes of {bits} bits, and 1 to 8 can be read")));
    }
    let packed = |along| Layout { packed: Some((bits, along)), ..Layout::default() };
    let numbers = |part: &str, view, layout, n| Numbers::new(&module.full(part), view, layout, [n_out, n]);
    let half = (1 << (bits - 1)) as f32;
    let zeros = match module.find("weight_zero_point")? {
        None => Zeros::Fixed(half),
        Some(view) if view.dtype == SourceType::I32 => {
            let numbers = numbers("weight_zero_point", view, packed(Along::Outer), n_groups)?;
            Zeros::Codes { numbers, plus: 0.0, modulus: 2.0 * half }
        }
        // Not packed, it counts from zero as the codes do before half of their range is added.
        Some(_) => return Err(module.unsupported("zero points that are not packed cannot be read")),
    };
    let group = n_in.div_ceil(n_groups);
    let order = module.find("weight_g_idx")?.map(|view| module.numbers("weight_g_idx", &view)).transpose()?;
    let order: Option<Vec<usize>> = order.map(|order| order.iter().map(|&g| g as usize).collect());
    let groups = match order {
        // -1 stands for no order.
        Some(order) if order.iter().enumerate().any(|(i, &g)| g != i / group && g != 0) => {
            if order.len() != n_in || order.iter().any(|&g| g >= n_groups) {
                let what = format!("{} does not name a group for each input", module.full("weight_g_idx"));
                return Err(module.wrong(what));
            }
            Groups::Listed(order)
        }
        _ => Groups::Of(group),
    };
    Ok(Some(Arc::new(Affine {
        scheme: if bits == 8 { "INT8" } else { "INT4" },
        shape: vec![n_out, n_in],
        codes: numbers("weight_packed", codes, packed(Along::Inner), n_in)?,
        code_range: (0, 2 * half as i32 - 1),
        scales: numbers("weight_scale", scales, Layout::default(), n_groups)?,
        scale_factor: 1.0,
        zeros,
        groups,
        shaping: Shaping::Exact,
    })))
}

/// A `weight` of bytes or words: signed codes with scales (compressed-tensors' int8, LLM.int8()), MLX's words.
pub(super) fn bytes<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("weight")? else { return Ok(None) };
    let &[n_out, inner] = codes.shape else { return Ok(None) };
    let numbers = |part: &str, view, layout, n| Numbers::new(&module.full(part), view, layout, [n_out, n]);
    if codes.dtype == SourceType::U32 {
        return mlx(module);
    }
    if codes.dtype != SourceType::I8 {
        return Ok(None);
    }
    let Some((name, scales)) = module.find_any(&["SCB", "weight_scale"])? else { return Ok(None) };
    let is_llm_int8 = name.ends_with("SCB");
    // A scale for the whole, as many as rows, or groups of each row.
    let (layout, n_groups) = match *scales.shape {
        [n] if n == n_out => (Layout::default(), 1),
        [n, n_groups] if n == n_out => (Layout::default(), n_groups.max(1)),
        _ => {
            return Err(
                module.unsupported(&format!("{name} does not hold scales for each row, and cannot be read"))
            );
        }
    };
    let zeros = match module.find("weight_zero_point")? {
        Some(view) if view.n_elements() == n_out * n_groups => {
            Zeros::Floats(numbers("weight_zero_point", view, layout, n_groups)?)
        }
        Some(_) => return Err(module.unsupported("zero points of another number than scales cannot be read")),
        None => Zeros::Fixed(0.0),
    };
    Ok(Some(Arc::new(Affine {
        scheme: if is_llm_int8 { "LLM.int8" } else { "INT8" },
        shape: vec![n_out, inner],
        codes: numbers("weight", codes, Layout::default(), inner)?,
        code_range: (-128, 127),
        scales: Numbers::new(&name, scales, layout, [n_out, n_groups])?,
        scale_factor: if is_llm_int8 { 1.0 / 127.0 } else { 1.0 },
        zeros,
        groups: Groups::Of(inner.div_ceil(n_groups)),
        shaping: Shaping::Exact,
    })))
}

/// MLX: codes in order in words, `w = q s + b` with `scales` and `biases` `[n_out, n_groups]`.
fn mlx<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let (Some(scales), Some(biases)) = (module.find("scales")?, module.find("biases")?) else {
        return Ok(None);
    };
    let codes = module.need("weight")?;
    let (&[n_out, n_words], &[_, n_groups]) = (codes.shape, scales.shape) else { return Ok(None) };
    // A module may have a size of its own under its name.
    let own = |key: &str| module.setting(module.name)?.get(key)?.as_u64().map(|n| n as usize);
    let group = own("group_size").or(module.count("group_size")).unwrap_or(64);
    let n_in = n_groups * group;
    let bits = (n_words * 32).checked_div(n_in).unwrap_or(0);
    if !matches!(bits, 2 | 3 | 4 | 5 | 6 | 8) {
        return Err(
            module.unsupported(&format!("MLX codes of {bits} bits, and 2, 3, 4, 5, 6 and 8 can be read"))
        );
    }
    let packed = Layout { packed: Some((bits, Along::Inner)), ..Layout::default() };
    let numbers = |part: &str, view, layout, n| Numbers::new(&module.full(part), view, layout, [n_out, n]);
    Ok(Some(Arc::new(Affine {
        scheme: "MLX",
        shape: vec![n_out, n_in],
        codes: numbers("weight", codes, packed, n_in)?,
        code_range: (0, (1 << bits) - 1),
        scales: numbers("scales", scales, Layout::default(), n_groups)?,
        scale_factor: 1.0,
        zeros: Zeros::Biases {
            numbers: numbers("biases", biases, Layout::default(), n_groups)?,
            centre: 0.0,
        },
        groups: Groups::Of(group),
        shaping: Shaping::Exact,
    })))
}
