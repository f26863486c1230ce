//! The weighted sum of many rows of half precision: attention's values.
//!
//! `out[i]` = sum over `r` of `weights[r] * rows[r][i]`, a chain of `fma` in row order from +0.
//! Accuracy: one rounding per term. NaN and infinities behave as in IEEE arithmetic.

use super::lanes::{self, HalfLanes, LANES, Lanes, Tier};

/// Groups of lanes whose chains run side by side.
const GROUPS: usize = 4;

/// Sums `rows: [weights.len(), out.len()]`, each times its weight; `out` is not empty.
#[inline(always)]
pub(super) fn weighted_sum_f16<T: Tier>(weights: &[f32], rows: &[u16], out: &mut [f32]) {
    let n = out.len();
    let mut start = 0;
    while start + GROUPS * LANES <= n {
        let sums = column_sums::<T, GROUPS>(weights, rows, n, start);
        out[start..start + GROUPS * LANES].copy_from_slice(sums.as_flattened());
        start += GROUPS * LANES;
    }
    while start + LANES <= n {
        let sums = column_sums::<T, 1>(weights, rows, n, start);
        out[start..start + LANES].copy_from_slice(sums.as_flattened());
        start += LANES;
    }
    if start < n {
        let mut acc = [0.0; LANES];
        for r in 0..weights.len() {
            let end = lanes::padded(&rows[r * n + start..(r + 1) * n], 0);
            acc = lanes::fma(&[weights[r]; LANES], &T::widen(&end), &acc);
        }
        out[start..].copy_from_slice(&acc[..n - start]);
    }
}

/// The weighted sums of columns `start..start + G * 16`.
#[inline(always)]
fn column_sums<T: Tier, const G: usize>(weights: &[f32], rows: &[u16], n: usize, start: usize) -> [Lanes; G] {
    let mut acc = [[0.0; LANES]; G];
    for r in 0..weights.len() {
        let (halves, _): (&[HalfLanes], _) = rows[r * n + start..][..G * LANES].as_chunks();
        for g in 0..G {
            acc[g] = lanes::fma(&[weights[r]; LANES], &T::widen(&halves[g]), &acc[g]);
        }
    }
    acc
}
