//! Formats in the order of a kernel: Marlin's of GPTQ and AWQ, and torchao's for tensor cores.

use std::sync::Arc;

use super::{Made, Module, gptq};
use crate::checkpoint::TensorView;
use crate::convert::stored::affine::{Affine, Groups, Zeros};
use crate::convert::stored::numbers::{Layout, Numbers};
use crate::convert::stored::reshaped::Shaping;
use crate::convert::stored::tiles::Tiles;

/// Marlin: `B` with `s` (AutoGPTQ, and the authors' own), or AutoAWQ's `qweight` with `scales` in the layout "marlin". Codes
/// of four bits count from 8.
pub(super) fn marlin<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let is_awq = gptq::is_awq(module) && gptq::awq_version(module) == "marlin";
    let names = if is_awq { ["qweight", "scales"] } else { ["B", "s"] };
    let (Some(codes), Some(scales)) = (module.find(names[0])?, module.find(names[1])?) else {
        return Ok(None);
    };
    if module.find("qzeros")?.is_some_and(|zeros| zeros.n_elements() > 0) {
        return Err(module.unsupported("Marlin with zeros, whose order no publication of it says"));
    }
    module.find("workspace")?;
    let (&[n_tiles, n_words], &[n_groups, n_out]) = (codes.shape, scales.shape) else {
        return Err(module.wrong(format!("{} is not a matrix of words with scales", module.full(names[0]))));
    };
    let n_in = 16 * n_tiles;
    if n_words != 2 * n_out || n_groups == 0 || !n_in.is_multiple_of(n_groups) || n_in == 0 {
        let what = format!(
            "{} of shape {:?} does not go with {} of shape {:?}: two words and a scale of each group for each output",
            module.full(names[0]),
            codes.shape,
            module.full(names[1]),
            scales.shape
        );
        return Err(module.wrong(what));
    }
    let tiled = |part: &str, view, tiles, n| {
        let layout = Layout { tiles: Some(tiles), ..Layout::default() };
        Numbers::new(&module.full(part), view, layout, [n_out, n])
    };
    Ok(Some(Arc::new(Affine {
        scheme: if is_awq { "AWQ-4" } else { "GPTQ-4" },
        shape: vec![n_out, n_in],
        codes: tiled(names[0], codes, Tiles::Marlin, n_in)?,
        code_range: (0, 15),
        scales: tiled(names[1], scales, Tiles::MarlinScales { is_alone: n_groups == 1 }, n_groups)?,
        scale_factor: 1.0,
        zeros: Zeros::Fixed(8.0),
        groups: Groups::Of(n_in / n_groups),
        shaping: Shaping::Exact,
    })))
}

/// torchao's Int4TilePackedTo4dTensor: `_weight_qdata` of four dimensions with `_weight_scale_and_zero`. Both are filled up to
/// whole tiles.
pub(super) fn tensor_cores<'a>(module: &Module<'a, '_>, codes: TensorView<'a>) -> Made<'a> {
    const NAMES: [&str; 2] = ["_weight_qdata", "_weight_scale_and_zero"];
    let pairs = module.need(NAMES[1])?;
    if module.find("_weight_act_pre_scale")?.is_some() {
        return Err(module.unsupported("torchao's weights with scales of their inputs"));
    }
    let (&[n_rows, n_tiles, 32, words], &[n_groups, n_out, 2]) = (codes.shape, pairs.shape) else {
        let what = format!(
            "{} of shape {:?} and {} of {:?} are not tiles with pairs of a scale and a zero",
            module.full(NAMES[0]),
            codes.shape,
            module.full(NAMES[1]),
            pairs.shape
        );
        return Err(module.wrong(what));
    };
    let n_in = n_tiles.saturating_mul(32 * words);
    if n_rows.checked_mul(8) != Some(n_out) || n_groups == 0 || n_in == 0 || !n_in.is_multiple_of(n_groups) {
        let what = format!("{} has other rows or groups than its scales", module.full(NAMES[0]));
        return Err(module.wrong(what));
    }
    let tiled = |i: usize, view, tiles, n| {
        let layout = Layout { tiles: Some(tiles), ..Layout::default() };
        Numbers::new(&module.full(NAMES[i]), view, layout, [n_out, n])
    };
    let of_groups = |is_second| tiled(1, pairs, Tiles::Pairs { is_second }, n_groups);
    Ok(Some(Arc::new(Affine {
        scheme: "INT4",
        shape: vec![n_out, n_in],
        codes: tiled(0, codes, Tiles::TensorCore { inner: 2 * words, n_tiles }, n_in)?,
        code_range: (0, 15),
        scales: of_groups(false)?,
        scale_factor: 1.0,
        zeros: Zeros::Biases { numbers: of_groups(true)?, centre: 8.0 },
        groups: Groups::Of(n_in / n_groups),
        shaping: Shaping::Padded,
    })))
}
