//! GPTQ (AutoGPTQ, GPTQ-for-LLaMa, GPTQModel, AutoRound) and AWQ (AutoAWQ): words of 32 bits called `qweight`.

use std::sync::Arc;

use super::{Made, Module};
use crate::checkpoint::{SourceType, TensorView};
use crate::convert::stored::affine::{Affine, Groups, Zeros};
use crate::convert::stored::numbers::{Along, Layout, Numbers};
use crate::convert::stored::reshaped::Shaping;
use crate::error::{Error, Result};

/// Where AutoAWQ's kernels have number `i` of eight in a word.
const AWQ_ORDER: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// GPTQ: `qweight` packed along the inputs, `qzeros` along the outputs, `scales` `[n_groups, n_out]`, `g_idx` the
/// group of each input.
pub(super) fn gptq<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("qweight")? else { return Ok(None) };
    if is_awq(module) {
        return Ok(None);
    }
    let (scales, zeros) = (module.need("scales")?, module.find("qzeros")?);
    let (&[n_words, n_out], &[n_groups, _]) = (codes.shape, scales.shape) else {
        return Err(module.wrong(format!("{} is not a matrix of words with scales", module.full("qweight"))));
    };
    let order = module.find("g_idx")?.filter(|order| order.n_elements() > 0);
    // Modules may have bits of their own: what they hold counts, before what is said of all.
    let of_zeros = || match zeros.as_ref()?.shape {
        [_, words] => words
            .checked_mul(32)?
            .checked_div(n_out)
            .filter(|bits| bits * n_out == words * 32 && (2..=8).contains(bits)),
        _ => None,
    };
    let bits = match &order {
        Some(order) => n_words * 32 / order.n_elements(),
        None => of_zeros().or(module.count("bits")).or(module.count("w_bit")).unwrap_or(4),
    };
    let form = layout_of(module);
    let is_planar = form == "gptq_p" || matches!(bits, 5..=7);
    if !matches!(bits, 2..=8) || n_words * 32 % bits != 0 || n_groups == 0 {
        return Err(module.unsupported(&format!("GPTQ with codes of {bits} bits, and 2 to 8 can be read")));
    }
    let n_in = n_words * 32 / bits;
    let turned = |packed| Layout { is_turned: true, packed, is_planar, ..Layout::default() };
    let numbers = |part: &str, view, layout, n| Numbers::new(&module.full(part), view, layout, [n_out, n]);
    let modulus = (1 << bits) as f32;
    // Files of the first version store one less than z, and wrap around; AutoRound's own format and planes do not.
    let is_raw = is_planar
        || form.ends_with("_v2")
        || matches!(module.text("packing_format"), "auto_round" | "auto_round:gptqmodel");
    let plus = if is_raw { 0.0 } else { 1.0 };
    let zeros = match zeros {
        Some(view) => {
            let layout = turned(Some((bits, Along::Inner)));
            Zeros::Codes { numbers: numbers("qzeros", view, layout, n_groups)?, plus, modulus }
        }
        None => Zeros::Fixed(modulus / 2.0),
    };
    let group = group_of(module, n_in, n_groups)?;
    let groups = match order {
        None => Groups::Of(group),
        Some(view) => {
            let order: Vec<usize> = module.numbers("g_idx", &view)?.iter().map(|&g| g as usize).collect();
            if order.len() != n_in || order.iter().any(|&g| g >= n_groups) {
                let what =
                    format!("{} does not name one of {n_groups} groups for each input", module.full("g_idx"));
                return Err(module.wrong(what));
            }
            let is_in_order = order.iter().enumerate().all(|(i, &g)| g == i / group);
            if is_in_order { Groups::Of(group) } else { Groups::Listed(order) }
        }
    };
    Ok(Some(Arc::new(Affine {
        scheme: ["GPTQ-2", "GPTQ-3", "GPTQ-4", "GPTQ-5", "GPTQ-6", "GPTQ-7", "GPTQ-8"][bits - 2],
        shape: vec![n_out, n_in],
        codes: numbers("qweight", codes, turned(Some((bits, Along::Outer))), n_in)?,
        code_range: (0, (1 << bits) - 1),
        scales: numbers("scales", scales, turned(None), n_groups)?,
        scale_factor: 1.0,
        zeros,
        groups,
        shaping: Shaping::Exact,
    })))
}

/// AWQ, of four bits: in the layout "gemm" everything is packed along the outputs in an order of its own, in "gemv"
/// along the inputs in order.
pub(super) fn awq<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("qweight")? else { return Ok(None) };
    if !is_awq(module) {
        return Ok(None);
    }
    let (scales, zeros) = (module.need("scales")?, module.need("qzeros")?);
    let version = awq_version(module);
    if codes.dtype == SourceType::I16 {
        return awq_fast(module, (codes, scales, zeros));
    }
    let bits = module.count("bits").or(module.count("w_bit")).unwrap_or(4);
    let (&[outer, inner], true) = (codes.shape, bits == 4 && codes.dtype.element_bits() == 32) else {
        let what = format!(
            "AWQ of {bits} bits in the layout \"{version}\"; four bits in \"gemm\" and \"gemv\" can be read"
        );
        return Err(module.unsupported(&what));
    };
    let is_gemv = match version.as_str() {
        "" | "gemm" | "gemv" => version == "gemv",
        other => {
            return Err(module.unsupported(&format!("AWQ in the layout \"{other}\", which cannot be read")));
        }
    };
    let [n_out, n_in] = if is_gemv { [outer, inner * 8] } else { [inner * 8, outer] };
    let n_groups = if is_gemv {
        let group = module.count("group_size").or(module.count("q_group_size")).unwrap_or(128);
        if group == 0 || !n_in.is_multiple_of(group) {
            return Err(no_groups(module, group, n_in));
        }
        n_in / group
    } else {
        scales.shape.first().copied().unwrap_or(1).max(1)
    };
    let layout = |packed: bool| {
        let order = (packed && !is_gemv).then_some(AWQ_ORDER);
        Layout {
            is_turned: !is_gemv,
            packed: packed.then_some((4, Along::Inner)),
            order,
            ..Layout::default()
        }
    };
    let numbers = |part: &str, view, packed, n| -> Result<Numbers<'a>> {
        Numbers::new(&module.full(part), view, layout(packed), [n_out, n])
    };
    let zeros = numbers("qzeros", zeros, true, n_groups)?;
    Ok(Some(Arc::new(Affine {
        scheme: "AWQ-4",
        shape: vec![n_out, n_in],
        codes: numbers("qweight", codes, true, n_in)?,
        code_range: (0, 15),
        scales: numbers("scales", scales, false, n_groups)?,
        scale_factor: 1.0,
        zeros: Zeros::Codes { numbers: zeros, plus: 0.0, modulus: 16.0 },
        groups: Groups::Of(module.group_len(n_in, n_groups).unwrap_or(n_in.div_ceil(n_groups))),
        shaping: Shaping::Exact,
    })))
}

/// AutoAWQ's "gemv_fast": codes of four rows in words of 16 bits, scales and what a code of zero stands for turned, with
/// rows added to fill them up.
fn awq_fast<'a>(
    module: &Module<'a, '_>,
    (codes, scales, zeros): (TensorView<'a>, TensorView<'a>, TensorView<'a>),
) -> Made<'a> {
    let (&[n_words, n_in], &[n_groups, n_out]) = (codes.shape, scales.shape) else {
        return Err(module.wrong(format!("{} is not a matrix with scales", module.full("qweight"))));
    };
    let group = module.count("group_size").or(module.count("q_group_size")).unwrap_or(128);
    if group == 0 || !n_in.is_multiple_of(group) {
        return Err(no_groups(module, group, n_in));
    }
    if n_words * 4 != n_out || n_in == 0 || n_in / group > n_groups {
        let what = format!("{} has other rows or groups than its scales", module.full("qweight"));
        return Err(module.wrong(what));
    }
    let turned = Layout { is_turned: true, ..Layout::default() };
    let of_groups = |part: &str, view| Numbers::new(&module.full(part), view, turned, [n_out, n_groups]);
    let fast = Layout { is_of_four_rows: true, ..Layout::default() };
    Ok(Some(Arc::new(Affine {
        scheme: "AWQ-4",
        shape: vec![n_out, n_in],
        codes: Numbers::new(&module.full("qweight"), codes, fast, [n_out, n_in])?,
        code_range: (0, 15),
        scales: of_groups("scales", scales)?,
        scale_factor: 1.0,
        zeros: Zeros::Biases { numbers: of_groups("qzeros", zeros)?, centre: 0.0 },
        groups: Groups::Of(group),
        shaping: Shaping::Exact,
    })))
}

/// Inputs of a group, of which there are `n_groups`.
fn group_of(module: &Module<'_, '_>, n_in: usize, n_groups: usize) -> Result<usize> {
    module.group_len(n_in, n_groups).ok_or_else(|| {
        module.wrong(format!(
            "{} has {n_groups} groups, into which its {n_in} inputs do not divide; the checkpoint is damaged, or its \
             group_size in config.json is wrong",
            module.full("scales")
        ))
    })
}

fn no_groups(module: &Module<'_, '_>, group: usize, n_in: usize) -> Error {
    module.wrong(format!(
        "{}: groups of {group} do not divide its {n_in} inputs; group_size in config.json is wrong",
        module.full("qweight")
    ))
}

/// The layout of GPTQ, which GPTQModel says under two names.
fn layout_of<'a>(module: &Module<'a, '_>) -> &'a str {
    let names = ["checkpoint_format", "format"];
    names.into_iter().map(|name| module.text(name)).find(|layout| !layout.is_empty()).unwrap_or_default()
}

/// The layout of AWQ: AutoAWQ's `version`, or what GPTQModel says.
pub(super) fn awq_version(module: &Module<'_, '_>) -> String {
    let version = module.text("version");
    if !version.is_empty() {
        return version.to_ascii_lowercase();
    }
    match layout_of(module) {
        "llm-awq" => "gemv_fast".to_owned(),
        layout if layout.starts_with("gem") || layout == "marlin" => layout.to_owned(),
        _ => String::new(),
    }
}

pub(super) fn is_awq(module: &Module<'_, '_>) -> bool {
    let says_awq = |key: &str| module.text(key).to_ascii_lowercase().contains("awq");
    // Its first versions said neither, and had a word of their own for bits.
    ["quant_method", "method", "packing_format"].into_iter().any(says_awq)
        || module.setting("w_bit").is_some()
}
