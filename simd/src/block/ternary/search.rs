//! The search behind the encoders of the ternary types.
//!
//! With the scale `d` a weight is coded as the sign of `x` where `|x| > d / 2`, else as 0. For the weights
//! that a threshold leaves, the best scale is their (importance-weighted) mean magnitude, and the error
//! falls by `(sum w |x|)^2 / sum w`. Sixteen thresholds, a lane each, start between a fortieth and nearly
//! all of the largest magnitude and then move to half of the scale they lead to, which never makes
//! the error larger; the best one wins. Plain rounding, where the largest weight is the scale, is among
//! them.

use crate::block::k::{SUPER_LEN, error_weights, normal_unit, round_to_half, usable};
use crate::wide::{LANES, Wide};

/// What the first threshold is of the largest magnitude, and each of the one before. With 0.8 the fourth
/// is about a half, where plain rounding has it.
const RATIO: f32 = 0.8;

/// How often thresholds move.
const ROUNDS: usize = 3;

/// Encodes a row into blocks of `B` bytes; `write` gets a block to fill, the bytes of its f16 scale, and
/// its codes in `0..=2`.
#[inline(always)]
pub(crate) fn for_each_block<V: Wide, const B: usize>(
    isa: V::Proof,
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    write: impl Fn(&mut [u8; B], [u8; 2], &[u8; SUPER_LEN]),
) {
    let rows = row.as_chunks::<SUPER_LEN>().0;
    for (i, (row, block)) in rows.iter().zip(out.as_chunks_mut::<B>().0).enumerate() {
        let importance = importance.and_then(|all| all.as_chunks::<SUPER_LEN>().0.get(i));
        let (d, codes) = search::<V>(isa, row, importance);
        write(block, d, &codes);
    }
}

/// The scale and the codes of a super-block.
#[inline(always)]
fn search<V: Wide>(
    isa: V::Proof,
    row: &[f32; SUPER_LEN],
    importance: Option<&[f32; SUPER_LEN]>,
) -> ([u8; 2], [u8; SUPER_LEN]) {
    let unit = normal_unit(row);
    let inverse = 1.0 / unit;
    let weights = error_weights(importance);
    let (mut x, mut magnitudes) = ([0.0; SUPER_LEN], [0.0; SUPER_LEN]);
    let mut largest = 0.0f32;
    for i in 0..SUPER_LEN {
        x[i] = usable(row[i]) * inverse;
        magnitudes[i] = x[i].abs();
        largest = if magnitudes[i] > largest { magnitudes[i] } else { largest };
    }
    let (half, d) = round_to_half(best_scale::<V>(isa, &magnitudes, &weights, largest) * unit);
    let threshold = 0.5 * d * inverse;
    let mut codes = [0; SUPER_LEN];
    for i in 0..SUPER_LEN {
        codes[i] = 1 + u8::from(x[i] > threshold) - u8::from(x[i] < -threshold);
    }
    (half, codes)
}

/// The scale of least error.
#[inline(always)]
fn best_scale<V: Wide>(
    isa: V::Proof,
    magnitudes: &[f32; SUPER_LEN],
    weights: &[f32; SUPER_LEN],
    largest: f32,
) -> f32 {
    let mut starts = [largest * RATIO; LANES];
    for i in 1..LANES {
        starts[i] = starts[i - 1] * RATIO;
    }
    let (mut thresholds, zero) = (V::load(isa, &starts), V::splat(isa, 0.0));
    let (mut scales, mut gains) = (zero, zero);
    for _ in 0..=ROUNDS {
        let (mut sum_w, mut sum_wx) = (zero, zero);
        for (&x, &w) in magnitudes.iter().zip(weights) {
            let x = V::splat(isa, x);
            let w = thresholds.less_then_else(x, V::splat(isa, w), zero);
            sum_w = sum_w + w;
            sum_wx = sum_wx + w * x;
        }
        scales = sum_wx * sum_w.recip_or_zero();
        gains = sum_wx * scales;
        thresholds = scales * V::splat(isa, 0.5);
    }
    let (scales, gains) = (scales.store(), gains.store());
    let mut best = 0;
    for i in 1..LANES {
        best = if gains[i] > gains[best] { i } else { best };
    }
    scales[best]
}
