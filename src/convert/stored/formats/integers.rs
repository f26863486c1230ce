//! Integers with scales: compressed-tensors, MLX, torchao's and LLM.int8()'s bytes, BitNet.

use std::sync::Arc;

use super::{Made, Module, floats};
use crate::checkpoint::SourceType;
use crate::convert::stored::affine::{Affine, Groups, Zeros};
use crate::convert::stored::numbers::{Along, Layout, Numbers};
use crate::convert::stored::reshaped::Shaping;
use crate::error::Result;

/// compressed-tensors: `weight_packed` along the inputs, codes that count from half of their range, `weight_scale`
/// `[n_out, n_groups]` or one, perhaps `weight_zero_point`.
pub(super) fn compressed<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("weight_packed")?.filter(|codes| codes.dtype == SourceType::I32) else {
        return Ok(None);
    };
    let (scales, shape) = (module.need("weight_scale")?, module.need("weight_shape")?);
    let shape: Vec<usize> = module.numbers("weight_shape", &shape)?.iter().map(|&n| n as usize).collect();
    let (&[n_out, n_in], &[n_rows, n_words]) = (&shape[..], codes.shape) else {
        return Err(module.wrong(format!("{} is not a matrix of words", module.full("weight_packed"))));
    };
    if n_rows != n_out {
        let what =
            format!("{} has {n_rows} rows, and weight_shape says {n_out}", module.full("weight_packed"));
        return Err(module.wrong(what));
    }
    let is_one = scales.n_elements() == 1 && n_out > 1;
    let n_groups = if let (false, &[_, n_groups]) = (is_one, scales.shape) { n_groups } else { 1 };
    if n_in == 0 || n_groups == 0 {
        return Err(module.wrong(format!("{} says that there are no weights", module.full("weight_shape"))));
    }
    let (bits, is_padded) = packing(module, n_words, n_in)?;
    let packed = |along| Layout { packed: Some((bits, along)), is_padded, ..Layout::default() };
    let numbers = |part: &str, view, layout, n| Numbers::new(&module.full(part), view, layout, [n_out, n]);
    let half = (1 << (bits - 1)) as f32;
    let plain = Layout { is_one, ..Layout::default() };
    let zeros = match module.find("weight_zero_point")? {
        None => Zeros::Fixed(half),
        Some(view) => {
            // Packed along the outputs; one for the whole, or of earlier versions, it is not and counts from zero.
            let is_packed = view.dtype == SourceType::I32 && !is_one;
            let (layout, plus) = if is_packed { (packed(Along::Outer), 0.0) } else { (plain, half) };
            let numbers = numbers("weight_zero_point", view, layout, n_groups)?;
            Zeros::Codes { numbers, plus, modulus: 2.0 * half }
        }
    };
    Ok(Some(Arc::new(Affine {
        scheme: if bits == 8 { "INT8" } else { "INT4" },
        shape: vec![n_out, n_in],
        codes: numbers("weight_packed", codes, packed(Along::Inner), n_in)?,
        code_range: (0, 2 * half as i32 - 1),
        scales: numbers("weight_scale", scales, plain, n_groups)?,
        scale_factor: 1.0,
        zeros,
        groups: ordered_groups(module, n_in, n_groups)?,
        shaping: Shaping::Exact,
    })))
}

/// Bits of codes of which `n_in` take `n_words`, and whether they fill words only as far as whole ones fit, as
/// compressed-tensors had it up to 0.17: then config.json says what words alone would not.
fn packing(module: &Module<'_, '_>, n_words: usize, n_in: usize) -> Result<(usize, bool)> {
    let said: Vec<usize> = module
        .settings_of_some("num_bits")
        .into_iter()
        .filter_map(|bits| usize::try_from(bits.as_u64()?).ok().filter(|bits| (1..=8).contains(bits)))
        .collect();
    let dense = |bits: usize| n_in.checked_mul(bits).is_some_and(|n| n.div_ceil(32) == n_words);
    let padded = |bits: usize| n_in.div_ceil(32 / bits) == n_words;
    let among = |candidates: &[usize]| {
        let first = |fits: &dyn Fn(usize) -> bool| candidates.iter().copied().find(|&bits| fits(bits));
        first(&dense).map(|bits| (bits, false)).or_else(|| first(&padded).map(|bits| (bits, true)))
    };
    let candidates = if said.is_empty() { (1..=8).collect() } else { said };
    among(&candidates).ok_or_else(|| {
        let name = module.full("weight_packed");
        module.wrong(format!(
            "{name} has {n_words} words in a row, which {n_in} codes of {candidates:?} bits never take"
        ))
    })
}

/// The groups of inputs: those that `weight_g_idx` lists, or as many that follow each other.
fn ordered_groups(module: &Module<'_, '_>, n_in: usize, n_groups: usize) -> Result<Groups> {
    let group = module.group_len(n_in, n_groups).unwrap_or(n_in.div_ceil(n_groups));
    let Some(view) = module.find("weight_g_idx")? else { return Ok(Groups::Of(group)) };
    let order = module.numbers("weight_g_idx", &view)?;
    // -1 stands for no order.
    if order.iter().enumerate().all(|(i, &g)| g < 0.0 || g as usize == i / group) {
        return Ok(Groups::Of(group));
    }
    if order.len() != n_in || order.iter().any(|&g| g < 0.0 || g as usize >= n_groups) {
        let what =
            format!("{} does not name one of {n_groups} groups for each input", module.full("weight_g_idx"));
        return Err(module.wrong(what));
    }
    Ok(Groups::Listed(order.iter().map(|&g| g as usize).collect()))
}

/// A `weight` of bytes or words: signed codes with scales (compressed-tensors' int8, LLM.int8()), MLX's words.
pub(super) fn bytes<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("weight")? else { return Ok(None) };
    if codes.dtype == SourceType::U32 {
        return mlx(module);
    }
    let (&[n_out, inner], SourceType::I8) = (codes.shape, codes.dtype) else { return Ok(None) };
    let numbers = |part: &str, view, layout, n| Numbers::new(&module.full(part), view, layout, [n_out, n]);
    let Some((name, scales)) = module.find_any(&["SCB", "weight_scale"])? else { return Ok(None) };
    let is_llm_int8 = name.ends_with("SCB");
    // A scale for the whole, as many as rows, or groups of each row.
    let (layout, n_groups) = match *scales.shape {
        [n] if n == n_out => (Layout::default(), 1),
        [] | [1] | [1, 1] => (Layout { is_one: true, ..Layout::default() }, 1),
        [n, n_groups] if n == n_out => (Layout::default(), n_groups.max(1)),
        _ => {
            return Err(module.unsupported(&format!(
                "{name} holds neither one scale nor scales of each row, and cannot be read"
            )));
        }
    };
    let zeros = match module.find("weight_zero_point")? {
        Some(view) if layout.is_one || view.n_elements() == n_out * n_groups => {
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

/// Bits that a code of MLX may have.
const MLX_BITS: [usize; 6] = [2, 3, 4, 5, 6, 8];

/// What is wrong with rows of `n_words` words and `n_groups` scales, if `group` codes share a scale.
fn misfit(module: &Module<'_, '_>, (n_words, n_groups, group): (usize, usize, usize)) -> String {
    let n_bits = n_words.saturating_mul(32);
    let bits = n_bits.checked_div(n_groups.saturating_mul(group)).unwrap_or(0);
    let of_bits = |bits: usize| {
        let n_scaled =
            n_groups.checked_mul(bits).filter(|&n| n > 0 && n_bits > 0 && n_bits.is_multiple_of(n))?;
        Some(format!("{} for {bits} bits", n_bits / n_scaled))
    };
    let sizes: Vec<String> = MLX_BITS.into_iter().filter_map(of_bits).collect();
    let remedy = if sizes.is_empty() {
        "no group_size makes them fit: the two tensors are not of one matrix".to_owned()
    } else {
        format!("what fits is a group_size of {}; correct config.json", sizes.join(", "))
    };
    format!(
        "MLX codes of {bits} bits: a row of {} has {n_words} words of 32 bits, and {} has {n_groups} scales in a row, each \
         for as many codes as the group_size of config.json says, {group}; codes of 2, 3, 4, 5, 6 or 8 bits that fill the \
         words are expected, and {remedy}",
        module.full("weight"),
        module.full("scales")
    )
}

/// MLX: codes in order in words, `w = q s + b` with `scales` and `biases` `[.., n_out, n_groups]`: a matrix, or a stack
/// of experts.
fn mlx<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(scales) = module.find("scales")? else { return Ok(None) };
    let codes = module.need("weight")?;
    if scales.dtype == SourceType::U8 && module.find("biases")?.is_none() {
        return floats::in_words(module, codes, scales);
    }
    let biases = module.need("biases")?;
    let ([outer @ .., n_words], [of_scales @ .., n_groups]) = (codes.shape, scales.shape) else {
        return Ok(None);
    };
    if outer.is_empty() || outer != of_scales {
        let names = [module.full("weight"), module.full("scales")];
        let what = format!(
            "tensors {} and {} have shapes {:?} and {:?}, which differ in more than the last dimension",
            names[0], names[1], codes.shape, scales.shape
        );
        return Err(module.wrong(what));
    }
    let (n_rows, n_words, n_groups) = (outer.iter().product(), *n_words, *n_groups);
    // A module may have a size of its own under its name.
    let own = |key: &str| module.setting(module.name)?.get(key)?.as_u64().map(|n| n as usize);
    let group = own("group_size").or(module.count("group_size")).unwrap_or(64);
    let n_in = n_groups.saturating_mul(group);
    let fits = |bits: usize| n_in > 0 && n_in.checked_mul(bits) == n_words.checked_mul(32);
    let Some(bits) = MLX_BITS.into_iter().find(|&bits| fits(bits)) else {
        return Err(module.unsupported(&misfit(module, (n_words, n_groups, group))));
    };
    let packed = Layout { packed: Some((bits, Along::Inner)), ..Layout::default() };
    let numbers = |part: &str, view, layout, n| Numbers::new(&module.full(part), view, layout, [n_rows, n]);
    Ok(Some(Arc::new(Affine {
        scheme: "MLX",
        shape: [outer, &[n_in]].concat(),
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
