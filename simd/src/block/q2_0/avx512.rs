//! Q2_0 for AVX-512; data flow and bounds: [`crate::block::windows::avx512`].

use core::arch::x86_64::*;

use super::{BYTES, avx2, qs, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::avx512;
use crate::isa::Avx512;
use crate::isa::avx2::{load_128, load_i32};
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
    avx512::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 4], y, _| {
        let ys = y.codes.as_chunks::<64>().0;
        let sums = sums_of_8(array::four(|i| {
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes(&blocks[i]), load_codes(&ys[i]))
        }));
        let isum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, load_i32(&y.sums)));
        (isum, avx512::scaled(avx2::scales(blocks), y))
    });
}

/// The codes of a block: a byte of four moves up until each code has come to the bottom of a byte.
#[inline]
#[target_feature(enable = "avx512f")]
fn codes(block: &[u8; BYTES]) -> __m512i {
    let bytes = _mm512_cvtepu8_epi32(load_128(qs(block)));
    let two = _mm512_or_si512(bytes, _mm512_slli_epi32::<6>(bytes));
    let four = _mm512_or_si512(two, _mm512_slli_epi32::<12>(two));
    _mm512_and_si512(four, _mm512_set1_epi8(3))
}
