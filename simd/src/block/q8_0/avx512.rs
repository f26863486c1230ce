//! Q8_0 for AVX-512; data flow and bounds: [`crate::block::windows::avx512`]. Here the codes enter with a bias of 128, as unsigned.

use core::arch::x86_64::*;

use super::BYTES;
use super::scalar;
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::avx512;
use crate::isa::Avx512;
use crate::isa::avx2::{load_256, load_i32};
use crate::isa::avx512::{load_codes, sums_of_8};
use crate::wide::avx512::Avx512Floats;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<Avx512Floats>(Avx512::here(), row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    avx512::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 8], y, _| {
        let isum = block_sums(blocks, y);
        (isum, avx512::scaled(avx512::f16s::<BYTES, 0>(blocks), y))
    });
}

/// The codes of two blocks, plus 128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn pair(first: &[u8; BYTES], second: &[u8; BYTES]) -> __m512i {
    let codes = |block: &[u8; BYTES]| load_256(block.last_chunk().expect("the codes are inside the block"));
    let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(codes(first)), codes(second));
    _mm512_xor_si512(both, _mm512_set1_epi8(-128))
}

/// `sum(q * y)` of eight blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn block_sums(blocks: &[[u8; BYTES]; 8], y: &Q8Window) -> __m256 {
    let codes = y.codes.as_chunks::<64>().0;
    let biased = sums_of_8(array::four(|i| {
        let pair = pair(&blocks[2 * i], &blocks[2 * i + 1]);
        _mm512_dpbusd_epi32(_mm512_setzero_si512(), pair, load_codes(&codes[i]))
    }));
    let excess = _mm256_slli_epi32::<7>(load_i32(&y.sums));
    _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, excess))
}
