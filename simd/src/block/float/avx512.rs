//! The AVX-512 dot products of the float types: sixteen lanes as one chain of sixteen lanes.
//!
//! Sixteen weights are widened to floats and take one fused multiply-add each; at the row's end the
//! lanes are added as the tree of [`crate::block`].

use core::arch::x86_64::*;

use crate::isa::avx512::{load_f32, store_f32};

/// `out[r] = w[r] . x` for float weights of `N` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv<const N: usize>(
    weights: &[u8],
    x: &[f32],
    out: &mut [f32],
    widen: impl Fn(&[[u8; N]; 16]) -> __m512,
) {
    let (chunks, tail) = x.as_chunks::<16>();
    let tail_x = super::padded(tail, 0.0);
    for (row, out) in weights.chunks_exact(N * x.len()).zip(out) {
        let (weights, tail_w) = row.as_chunks::<N>().0.as_chunks::<16>();
        let mut lanes = _mm512_setzero_ps();
        for (w, x) in weights.iter().zip(chunks) {
            lanes = add(lanes, w, x, &widen);
        }
        if !tail_w.is_empty() {
            lanes = add(lanes, &super::padded(tail_w, [0; N]), &tail_x, &widen);
        }
        let mut stored = [0.0; 16];
        store_f32(&mut stored, lanes);
        *out = super::sum(stored);
    }
}

/// Adds sixteen products to the lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn add<const N: usize>(
    lanes: __m512,
    w: &[[u8; N]; 16],
    x: &[f32; 16],
    widen: &impl Fn(&[[u8; N]; 16]) -> __m512,
) -> __m512 {
    _mm512_fmadd_ps(widen(w), load_f32(x), lanes)
}
