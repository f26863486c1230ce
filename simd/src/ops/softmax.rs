//! Softmax: `x[i] = e^(x[i] - max) / sum`, in place.
//!
//! The exponentials are summed in 16 lanes, then as a tree, and multiplied by the sum's reciprocal.
//! Accuracy: 3 ULP plus the sum's error. `-inf` gives 0 beside a finite element; a row without a
//! finite element, or with `+inf` or NaN in it, becomes NaN throughout.
//!
//! [`exponentials`] is softmax before the division, for rows that come in pieces.

use super::exp::exp;
use super::lanes::{self, LANES, Lanes};

/// Replaces the row `x: [n]` by its softmax.
#[inline(always)]
pub(super) fn softmax(x: &mut [f32]) {
    let (_, sum) = exponentials(x);
    let scale = 1.0 / sum;
    for i in 0..x.len() {
        x[i] *= scale;
    }
}

/// Replaces the elements of `x: [n]` by `e^(x[i] - max)`, and returns `max` and their sum.
#[inline(always)]
pub(super) fn exponentials(x: &mut [f32]) -> (f32, f32) {
    let max = row_max(x);
    let mut acc = [0.0; LANES];
    let (groups, tail) = x.as_chunks_mut::<LANES>();
    for i in 0..groups.len() {
        groups[i] = exp(&lanes::minus(&groups[i], max));
        acc = lanes::plus(&acc, &groups[i]);
    }
    if !tail.is_empty() {
        let end = exp(&lanes::minus(&lanes::padded(tail, f32::NEG_INFINITY), max));
        // Padding lanes add e^-inf = 0.
        acc = lanes::plus(&acc, &end);
        tail.copy_from_slice(&end[..tail.len()]);
    }
    (max, lanes::sum(&acc))
}

#[inline(always)]
fn row_max(x: &[f32]) -> f32 {
    let (groups, tail) = x.as_chunks::<LANES>();
    let mut max = [f32::NEG_INFINITY; LANES];
    for i in 0..groups.len() {
        max = greater(&groups[i], &max);
    }
    lanes::max(&greater(&lanes::padded(tail, f32::NEG_INFINITY), &max))
}

#[inline(always)]
fn greater(x: &Lanes, max: &Lanes) -> Lanes {
    let mut out = *max;
    for l in 0..LANES {
        out[l] = if x[l] > max[l] { x[l] } else { max[l] };
    }
    out
}
