//! Layer norm: `out[i] = (x[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i]` (Ba et al. 2016).
//!
//! Two passes: the mean first, then the mean square of what differs from it, so that a large mean costs
//! no accuracy. Both sums are taken in 16 lanes, then as a tree; the last product and the bias are one
//! fused operation. Accuracy: within 8 ULP of the larger of the two terms plus the error of the mean,
//! which for `n` elements is below `n / 16` ULP of the largest element. NaN and infinities spread over
//! the row.

use super::lanes::{self, LANES};

/// The mean of a row, and the reciprocal of its standard deviation.
#[inline(always)]
pub(super) fn mean_and_scale(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let (groups, tail) = x.as_chunks::<LANES>();
    let mut acc = [0.0; LANES];
    for i in 0..groups.len() {
        acc = lanes::plus(&acc, &groups[i]);
    }
    let mean = lanes::sum(&lanes::plus(&acc, &lanes::padded(tail, 0.0))) / n;
    let mut acc = [0.0; LANES];
    for i in 0..groups.len() {
        let difference = lanes::minus(&groups[i], mean);
        acc = lanes::fma(&difference, &difference, &acc);
    }
    let difference = lanes::minus(&lanes::padded(tail, mean), mean);
    acc = lanes::fma(&difference, &difference, &acc);
    (mean, 1.0 / (lanes::sum(&acc) / n + eps).sqrt())
}

/// `out[i] = (x[i] - mean) * scale * weight[i] + bias[i]`; all `[n]`.
#[inline(always)]
pub(super) fn apply(
    x: &[f32],
    (mean, scale): (f32, f32),
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let n = x.len();
    let (weight, out) = (&weight[..n], &mut out[..n]);
    match bias {
        Some(bias) => {
            let bias = &bias[..n];
            for i in 0..n {
                out[i] = ((x[i] - mean) * scale).mul_add(weight[i], bias[i]);
            }
        }
        None => {
            for i in 0..n {
                out[i] = (x[i] - mean) * scale * weight[i];
            }
        }
    }
}
