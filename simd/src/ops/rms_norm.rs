//! RMS norm: `out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]` (Zhang and Sennrich 2019).
//!
//! The squares are summed in 16 lanes, then as a tree; square root and division are IEEE's.
//! Accuracy: within 4 ULP plus the sum's error, which for `n` elements is below `n / 16` ULP.
//! Squares overflow for elements above 1.8e19; the result is then 0. NaN spreads over the row.

use super::lanes::{self, LANES};

/// `1 / sqrt(mean(x^2) + eps)` of the row `x: [n]`.
#[inline(always)]
pub(super) fn scale(x: &[f32], eps: f32) -> f32 {
    let (groups, tail) = x.as_chunks::<LANES>();
    let mut acc = [0.0; LANES];
    for i in 0..groups.len() {
        acc = lanes::fma(&groups[i], &groups[i], &acc);
    }
    let tail = lanes::padded(tail, 0.0);
    acc = lanes::fma(&tail, &tail, &acc);
    let mean = lanes::sum(&acc) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

/// `out[i] = x[i] * scale * weight[i]`; all `[n]`.
#[inline(always)]
pub(super) fn apply(x: &[f32], scale: f32, weight: &[f32], out: &mut [f32]) {
    let (weight, out) = (&weight[..x.len()], &mut out[..x.len()]);
    for i in 0..x.len() {
        out[i] = x[i] * scale * weight[i];
    }
}
