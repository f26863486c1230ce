//! A causal convolution of each channel with its last few values.
//!
//! `out[c] = bias[c] + sum over taps j of x_j[c] * w[j][c]`, each product added in a fused multiply-add, the oldest
//! tap first; without a bias the sum begins with zero. Accuracy: one rounding a tap.

use super::lanes::{self, LANES};

/// Taps of a convolution at most.
pub const MAX_TAPS: usize = 16;

/// Convolves the channels of one position: `taps[j]` are the values of all channels at the position of tap `j`, all
/// `[n]`; `weights: [taps, n]`.
#[inline(always)]
pub(super) fn conv(taps: &[&[f32]], weights: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    let n = out.len();
    for (i, out) in out.chunks_mut(LANES).enumerate() {
        let part = i * LANES..i * LANES + out.len();
        let mut acc = bias.map_or([0.0; LANES], |bias| lanes::padded(&bias[part.clone()], 0.0));
        for (j, tap) in taps.iter().enumerate() {
            let x = lanes::padded(&tap[part.clone()], 0.0);
            let w = lanes::padded(&weights[j * n + part.start..j * n + part.end], 0.0);
            acc = lanes::fma(&x, &w, &acc);
        }
        out.copy_from_slice(&acc[..out.len()]);
    }
}
