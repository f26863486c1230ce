//! F16 for AVX2; data flow: [`crate::block::float::avx2`].

use core::arch::x86_64::*;

use super::scalar;
use crate::block::float::avx2;
use crate::isa::avx2::load_128;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode(row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[f32], out: &mut [f32]) {
    avx2::gemv(weights, x, out, |w| widen(w));
}

/// Sixteen weights as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen(weights: &[[u8; 2]; 16]) -> [__m256; 2] {
    let bytes = weights.as_flattened().as_chunks().0;
    [_mm256_cvtph_ps(load_128(&bytes[0])), _mm256_cvtph_ps(load_128(&bytes[1]))]
}
