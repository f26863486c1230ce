//! A causal convolution of each channel with its last few values.
//!
//! `out[c] = bias[c] + sum over taps j of x_j[c] * w[j][c]`, each product added in a fused multiply-add, the oldest
//! tap first; without a bias the sum begins with zero. Accuracy: one rounding a tap.

/// Taps of a convolution at most.
pub const MAX_TAPS: usize = 16;

/// Convolves the channels of one position: `taps[j]` are the values of all channels at the position of tap `j`, all
/// `[n]`; `weights: [taps, n]`.
#[inline(always)]
pub(super) fn conv(taps: &[&[f32]], weights: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    match bias {
        Some(bias) => out.copy_from_slice(bias),
        None => out.fill(0.0),
    }
    if out.is_empty() {
        return;
    }
    // One tap after the other: the loop over channels is the long one, and what is added up stays in the first cache.
    for (tap, weights) in taps.iter().zip(weights.chunks_exact(out.len())) {
        add_tap(tap, weights, out);
    }
}

#[inline(always)]
fn add_tap(x: &[f32], weights: &[f32], out: &mut [f32]) {
    let (x, weights) = (&x[..out.len()], &weights[..out.len()]);
    for c in 0..out.len() {
        out[c] = x[c].mul_add(weights[c], out[c]);
    }
}
