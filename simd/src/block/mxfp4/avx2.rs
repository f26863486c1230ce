//! MXFP4 for AVX2; data flow and bounds: [`crate::block::windows::avx2`]. Here a shuffle looks the codes
//! up in their table, which holds them 12 too large, as unsigned.

use core::arch::x86_64::*;

use super::{BYTES, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::beforehand::Room;
use crate::block::tables::{FP4, bytes};
use crate::block::windows::avx2::nibbles::Arranged;
use crate::block::windows::avx2::{self, nibbles};
use crate::isa::Avx2;
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
    const UNSIGNED: [u8; 16] = bytes(&FP4, 12);
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x, 12);
    avx2::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 8], y, w| {
        let codes = nibbles::looked_up(&UNSIGNED, nibbles::nibbles(blocks));
        let isum = nibbles::block_sums::<24>(codes, &arranged, w, y);
        let e = u64::from_le_bytes(array::build(|k| blocks[k][0]));
        let e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(e.cast_signed()));
        (isum, avx2::scaled(scales(e), y))
    });
}

/// `d` of eight blocks from their bytes `e`, as [`super::scale`] computes it.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn scales(e: __m256i) -> __m256 {
    let one = _mm256_set1_epi32(1);
    let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, one));
    let subnormal = _mm256_slli_epi32::<21>(_mm256_add_epi32(e, one));
    _mm256_castsi256_ps(_mm256_max_epi32(normal, subnormal))
}
