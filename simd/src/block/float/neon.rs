//! The NEON dot products of the float types: sixteen lanes as four chains of four lanes.
//!
//! Sixteen weights are widened to floats and take one fused multiply-add each; at the row's end the
//! lanes are added as the tree of [`crate::block`].

use core::arch::aarch64::*;

use crate::array;
use crate::isa::neon::{load_f32, store_f32};

/// `out[r] = w[r] . x` for float weights of `N` bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn gemv<const N: usize>(
    weights: &[u8],
    x: &[f32],
    out: &mut [f32],
    widen: impl Fn(&[[u8; N]; 16]) -> [float32x4_t; 4],
) {
    let (chunks, tail) = x.as_chunks::<16>();
    let tail_x = super::padded(tail, 0.0);
    for (row, out) in weights.chunks_exact(N * x.len()).zip(out) {
        let (weights, tail_w) = row.as_chunks::<N>().0.as_chunks::<16>();
        let mut lanes = [vdupq_n_f32(0.0); 4];
        for (w, x) in weights.iter().zip(chunks) {
            lanes = add(lanes, w, x, &widen);
        }
        if !tail_w.is_empty() {
            lanes = add(lanes, &super::padded(tail_w, [0; N]), &tail_x, &widen);
        }
        let mut stored = [0.0; 16];
        for (out, lanes) in stored.as_chunks_mut().0.iter_mut().zip(lanes) {
            store_f32(out, lanes);
        }
        *out = super::sum(stored);
    }
}

/// Adds sixteen products to the lanes.
#[inline]
#[target_feature(enable = "neon")]
fn add<const N: usize>(
    lanes: [float32x4_t; 4],
    w: &[[u8; N]; 16],
    x: &[f32; 16],
    widen: &impl Fn(&[[u8; N]; 16]) -> [float32x4_t; 4],
) -> [float32x4_t; 4] {
    let w = widen(w);
    let x = x.as_chunks().0;
    array::four(|i| vfmaq_f32(lanes[i], w[i], load_f32(&x[i])))
}
