//! How the types with the table [`IQ4`] find their scales when they encode.
//!
//! A block of 32 weights is coded as `x ~ d * T[q]`. The search minimises `sum w (x - d T[q])^2`, with
//! `w` the importance of the column, or 1:
//!
//! 1. for several values that the weight of largest magnitude could take, at either end of the table,
//!    code the block to the nearest values and fit the scale to them by least squares; the best fit is
//!    the one that explains most;
//! 2. of the f16 scales about that fit, take the one with the least error.
//!
//! A lane is a block: sixteen are searched side by side, with the same operations on every tier.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::tables::IQ4;
use crate::block::transposed::{LEN, Transposed};
use crate::half_float::{f16_to_f32, f32_to_f16};
use crate::wide::{LANES, Wide};

/// The values tried in step 1 for the weight of largest magnitude.
const EXTREME_VALUES: [f32; 14] = [
    -127.0, -124.0, -130.0, -121.0, -133.0, -118.0, -136.0, -114.0, 113.0, 110.0, 116.0, 106.0, 120.0, 101.0,
];

/// A later value must gain more than this share over an earlier one, so that rounding errors do not
/// choose between values that are equally good.
const MARGIN: f32 = 1e-6;

/// What step 2 multiplies the fitted scale with.
const NUDGES: [f32; 9] = [1.0, 0.994, 1.006, 0.988, 1.012, 0.98, 1.02, 0.997, 1.003];

/// The largest and the smallest half above zero.
const HALVES: (f32, f32) = (65504.0, f32::from_bits((127 - 24) << 23));

/// Encodes a row, sixteen blocks at a time; `write` gets a block of `B` bytes to fill, the bytes of its
/// f16 scale, and its codes.
#[inline(always)]
pub(crate) fn for_each_block<V: Wide, const B: usize>(
    isa: V::Proof,
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    write: impl Fn(&mut [u8; B], [u8; 2], &[u8; LEN]),
) {
    let importance = importance.map(|importance| importance.as_chunks::<LEN>().0);
    let groups = row.as_chunks::<LEN>().0.chunks(LANES).zip(out.as_chunks_mut::<B>().0.chunks_mut(LANES));
    for (i, (blocks, out)) in groups.enumerate() {
        let importance = importance.map(|all| &all[LANES * i..][..blocks.len()]);
        let group = Transposed::<V>::of_blocks(isa, blocks, importance);
        let halves = best_halves(&group, fit(&group));
        let codes = codes(&group, V::load(isa, &scales(&halves, &group.units)));
        for (j, block) in out.iter_mut().enumerate() {
            write(block, halves[j].to_le_bytes(), &codes[j]);
        }
    }
}

/// Step 1: the scale of each block, in its unit.
#[inline(always)]
pub(crate) fn fit<V: Wide>(group: &Transposed<V>) -> V {
    let isa = group.x[0].proof();
    let inverse = group.extremes().recip_or_zero();
    let (mut best, mut best_gain) = (V::splat(isa, 0.0), V::splat(isa, 0.0));
    for value in EXTREME_VALUES {
        let inverse = inverse * V::splat(isa, value);
        let (sum_qq, sum_xq) = moments(group, inverse);
        let scale = sum_xq * sum_qq.recip_or_zero();
        let gain = scale * sum_xq;
        let enough = best_gain + V::splat(isa, MARGIN) * best_gain;
        best = enough.less_then_else(gain, scale, best);
        best_gain = enough.less_then_else(gain, gain, best_gain);
    }
    best
}

/// With `q` the nearest values to blocks times `inverse`: the sums of `w q q` and of `w x q`.
#[inline(always)]
pub(crate) fn moments<V: Wide>(group: &Transposed<V>, inverse: V) -> (V, V) {
    let isa = group.x[0].proof();
    let (mut sum_qq, mut sum_xq) = (V::splat(isa, 0.0), V::splat(isa, 0.0));
    for i in 0..LEN {
        let q = nearest(group.x[i] * inverse);
        let wq = group.w[i] * q;
        sum_qq = sum_qq + wq * q;
        sum_xq = sum_xq + wq * group.x[i];
    }
    (sum_qq, sum_xq)
}

/// Step 2: the f16 scale of each block.
#[inline(always)]
fn best_halves<V: Wide>(group: &Transposed<V>, fitted: V) -> [u16; LANES] {
    let isa = group.x[0].proof();
    let mut best = [0; LANES];
    let mut best_errors = [f32::INFINITY; LANES];
    for nudge in NUDGES {
        let halves = halves(fitted * V::splat(isa, nudge), &group.units);
        let errors = errors(group, V::load(isa, &scales(&halves, &group.units))).store();
        for j in 0..LANES {
            let is_better = errors[j] < best_errors[j];
            best[j] = if is_better { halves[j] } else { best[j] };
            best_errors[j] = if is_better { errors[j] } else { best_errors[j] };
        }
    }
    best
}

/// The squared errors of blocks coded with these scales.
#[inline(always)]
pub(crate) fn errors<V: Wide>(group: &Transposed<V>, scales: V) -> V {
    let isa = group.x[0].proof();
    let inverse = scales.recip_or_zero();
    let mut error = V::splat(isa, 0.0);
    for i in 0..LEN {
        let off = nearest(group.x[i] * inverse) * scales - group.x[i];
        error = error + group.w[i] * (off * off);
    }
    error
}

/// The nearest halves to scales in their units. Magnitudes beyond the largest half saturate to it, and
/// those below the smallest are raised to it, where zero would lose the block.
#[inline(always)]
fn halves<V: Wide>(scales: V, units: &[f32; LANES]) -> [u16; LANES] {
    let scales = scales.store();
    let mut halves = [0; LANES];
    for j in 0..LANES {
        let value = scales[j] * units[j];
        let magnitude = value.abs().clamp(HALVES.1, HALVES.0).copysign(value);
        halves[j] = f32_to_f16(if value == 0.0 { 0.0 } else { magnitude });
    }
    halves
}

/// Halves as scales in their units.
#[inline(always)]
fn scales(halves: &[u16; LANES], units: &[f32; LANES]) -> [f32; LANES] {
    let mut scales = [0.0; LANES];
    for j in 0..LANES {
        scales[j] = f16_to_f32(halves[j]) / units[j];
    }
    scales
}

/// The codes of each block for these scales.
#[inline(always)]
pub(crate) fn codes<V: Wide>(group: &Transposed<V>, scales: V) -> [[u8; LEN]; LANES] {
    let isa = group.x[0].proof();
    let inverse = scales.recip_or_zero();
    let (zero, one) = (V::splat(isa, 0.0), V::splat(isa, 1.0));
    let mut codes = [[0; LEN]; LANES];
    for i in 0..LEN {
        let value = group.x[i] * inverse;
        let mut code = zero;
        for middle in MIDDLES {
            code = code + V::splat(isa, middle).less_then_else(value, one, zero);
        }
        for (j, code) in code.store().into_iter().enumerate() {
            codes[j][i] = code as u8;
        }
    }
    codes
}

/// The values half-way between neighbours of the table.
const MIDDLES: [f32; 15] = {
    let mut middles = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        middles[i] = (IQ4[i] as f32 + IQ4[i + 1] as f32) / 2.0;
        i += 1;
    }
    middles
};

/// The nearest value of the table; the lower one of two that are equally near.
#[inline(always)]
fn nearest<V: Wide>(value: V) -> V {
    let isa = value.proof();
    let mut nearest = V::splat(isa, f32::from(IQ4[0]));
    for i in 0..15 {
        let step = V::splat(isa, f32::from(IQ4[i + 1]) - f32::from(IQ4[i]));
        nearest = nearest + V::splat(isa, MIDDLES[i]).less_then_else(value, step, V::splat(isa, 0.0));
    }
    nearest
}
