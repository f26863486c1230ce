//! NVFP4 for AVX2; data flow and bounds: [`crate::block::windows::avx2`], with a sum and a scale for each sixteen
//! weights. A shuffle looks the codes up in their table; they lend their signs to the activations.

use core::arch::x86_64::*;

use super::{BYTES, FROM_F16, NAN, qs, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::tables::{FP4, bytes};
use crate::block::windows::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, lookup};
use crate::wide::avx2::Avx2Floats;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<Avx2Floats>(Avx2::here(), row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    avx2::gemv_of_halves(weights, x, out, |blocks: &[[u8; BYTES]; 4], y, _| {
        let isums = avx2::half_block_sums(array::eight(|k| codes(&blocks[k / 2], k % 2)), y);
        let d = scales(blocks);
        [(isums[0], avx2::scaled(d[0], y)), (isums[1], avx2::scaled(d[1], y))]
    });
}

/// What the codes of weights `32 part ..` stand for.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(block: &[u8; BYTES], part: usize) -> __m256i {
    const SIGNED: [u8; 16] = bytes(&FP4, 0);
    let (qs, low_four) = (load_128(qs(block, part)), _mm_set1_epi8(15));
    let (low, high) = (_mm_and_si128(qs, low_four), _mm_and_si128(_mm_srli_epi16::<4>(qs), low_four));
    lookup(&SIGNED, _mm256_set_m128i(_mm_unpackhi_epi64(low, high), _mm_unpacklo_epi64(low, high)))
}

/// `d` of the first and of the second half of each 32 weights, as [`super::scale`] computes it.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn scales(blocks: &[[u8; BYTES]; 4]) -> [__m256; 2] {
    let word = |k: usize| i32::from_le_bytes(*blocks[k].first_chunk().expect("four scales"));
    let e = _mm_setr_epi32(word(0), word(1), word(2), word(3));
    let e = _mm_andnot_si128(_mm_cmpeq_epi8(e, _mm_set1_epi8(NAN.cast_signed())), e);
    let halves = |e: __m128i| _mm256_mul_ps(_mm256_cvtph_ps(e), _mm256_set1_ps(FROM_F16));
    // The first of each two bytes as an f16, and the second.
    let bits = _mm_set1_epi16(0x3f80);
    [halves(_mm_and_si128(_mm_slli_epi16::<7>(e), bits)), halves(_mm_and_si128(_mm_srli_epi16::<1>(e), bits))]
}
