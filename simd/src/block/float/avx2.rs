//! The AVX2 dot products of the float types: sixteen lanes as two chains of eight lanes.
//!
//! Sixteen weights are widened to floats and take one fused multiply-add each; at the row's end the
//! lanes are added as the tree of [`crate::block`].

use core::arch::x86_64::*;

use crate::array;
use crate::isa::avx2::{load_f32, store_f32};

/// `out[r] = w[r] . x` for float weights of `N` bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv<const N: usize>(
    weights: &[u8],
    x: &[f32],
    out: &mut [f32],
    widen: impl Fn(&[[u8; N]; 16]) -> [__m256; 2],
) {
    let (chunks, tail) = x.as_chunks::<16>();
    let tail_x = super::padded(tail, 0.0);
    for (row, out) in weights.chunks_exact(N * x.len()).zip(out) {
        let (weights, tail_w) = row.as_chunks::<N>().0.as_chunks::<16>();
        let mut lanes = [_mm256_setzero_ps(); 2];
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
#[target_feature(enable = "avx2,fma,f16c")]
fn add<const N: usize>(
    lanes: [__m256; 2],
    w: &[[u8; N]; 16],
    x: &[f32; 16],
    widen: &impl Fn(&[[u8; N]; 16]) -> [__m256; 2],
) -> [__m256; 2] {
    let w = widen(w);
    let x = x.as_chunks().0;
    array::two(|i| _mm256_fmadd_ps(w[i], load_f32(&x[i]), lanes[i]))
}
