//! BF16 for AVX-512; data flow: [`crate::block::float::avx512`].

use core::arch::x86_64::*;

use super::scalar;
use crate::block::float::avx512;
use crate::isa::avx2::load_256;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode(row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[f32], out: &mut [f32]) {
    avx512::gemv(weights, x, out, |w| widen(w));
}

/// Sixteen weights as floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn widen(weights: &[[u8; 2]; 16]) -> __m512 {
    let words = load_256(weights.as_flattened().first_chunk().expect("32 bytes"));
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words)))
}
