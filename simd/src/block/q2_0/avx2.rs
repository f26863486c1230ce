//! Q2_0 for AVX2; data flow and bounds: [`crate::block::windows::avx2`].

use core::arch::x86_64::*;

use super::{BYTES, qs, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_codes, load_i32, sums_of_8};
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
    avx2::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 4], y, _| {
        let ys = y.codes.as_chunks::<32>().0;
        let sums = sums_of_8(array::eight(|k| avx2::dot(codes(&blocks[k / 2], k % 2), load_codes(&ys[k]))));
        let isum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, load_i32(&y.sums)));
        (isum, avx2::scaled(scales(blocks), y))
    });
}

/// The codes of half a block: a byte of four moves up until each code has come to the bottom of a byte.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(block: &[u8; BYTES], half: usize) -> __m256i {
    let eight = i64::from_le_bytes(qs(block).as_chunks().0[half]);
    let bytes = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(eight));
    let two = _mm256_or_si256(bytes, _mm256_slli_epi32::<6>(bytes));
    let four = _mm256_or_si256(two, _mm256_slli_epi32::<12>(two));
    _mm256_and_si256(four, _mm256_set1_epi8(3))
}

/// `d` of each 32 weights.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn scales(blocks: &[[u8; BYTES]; 4]) -> __m256 {
    let twice = |block: &[u8; BYTES]| {
        (0x0001_0001 * u32::from(u16::from_le_bytes([block[0], block[1]]))).cast_signed()
    };
    let [a, b, c, d] = blocks;
    _mm256_cvtph_ps(_mm_setr_epi32(twice(a), twice(b), twice(c), twice(d)))
}
