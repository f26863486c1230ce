//! Q1_0 for AVX2; data flow and bounds: [`crate::block::windows::avx2`]. Here signs become bytes of ones, and
//! these codes of 0 and 2.

use core::arch::x86_64::*;

use super::{BYTES, scalar, signs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::avx2;
use crate::isa::avx2::{load_codes, load_i32, ones, sums_of_8};

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
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    avx2::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 2], y, _| {
        let codes = y.codes.as_chunks::<32>().0;
        let sums = sums_of_8(array::eight(|k| {
            let twos = _mm256_and_si256(ones(signs(&blocks[k / 4], k % 4)), _mm256_set1_epi8(2));
            avx2::dot(twos, load_codes(&codes[k]))
        }));
        let isum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, load_i32(&y.sums)));
        (isum, avx2::scaled(scales(blocks), y))
    });
}

/// `d` of each 32 weights.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn scales(blocks: &[[u8; BYTES]; 2]) -> __m256 {
    let four = |block: &[u8; BYTES]| {
        (0x0001_0001_0001_0001 * u64::from(u16::from_le_bytes([block[0], block[1]]))).cast_signed()
    };
    _mm256_cvtph_ps(_mm_set_epi64x(four(&blocks[1]), four(&blocks[0])))
}
