//! One row against many rows of floats.
//!
//! `out[r] = rows[r] . x`, each in 16 lanes: lane `l` takes `fma(x[i], row[i], lane)` for every
//! `i % 16 == l` in order, a short row padded with zeros; then the tree of [`lanes::sum`].
//! Accuracy: one rounding per term. NaN and infinities behave as in IEEE arithmetic.

use super::lanes::{self, LANES};

/// Multiplies `rows: [out.len(), x.len()]` with `x`; `x` is not empty.
#[inline(always)]
pub(super) fn dots_f32(x: &[f32], rows: &[f32], out: &mut [f32]) {
    for r in 0..out.len() {
        out[r] = dot(x, &rows[r * x.len()..(r + 1) * x.len()]);
    }
}

#[inline(always)]
fn dot(x: &[f32], row: &[f32]) -> f32 {
    let (xs, x_tail) = x.as_chunks::<LANES>();
    let (groups, row_tail) = row.as_chunks::<LANES>();
    let mut acc = [0.0; LANES];
    let groups = &groups[..xs.len()];
    for i in 0..xs.len() {
        acc = lanes::fma(&xs[i], &groups[i], &acc);
    }
    if !x_tail.is_empty() {
        acc = lanes::fma(&lanes::padded(x_tail, 0.0), &lanes::padded(row_tail, 0.0), &acc);
    }
    lanes::sum(&acc)
}
