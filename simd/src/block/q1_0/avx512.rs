//! Q1_0 for AVX-512; data flow and bounds: [`crate::block::windows::avx512`]. Here signs are masks as they are,
//! and make codes of 0 and 2.

use core::arch::x86_64::*;

use super::{BYTES, avx2, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::avx512;
use crate::isa::avx2::load_i32;
use crate::isa::avx512::{load_codes, sums_of_8};

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
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    avx512::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 2], y, _| {
        let codes = y.codes.as_chunks::<64>().0;
        let sums = sums_of_8(array::four(|i| {
            let signs = blocks[i / 2][2 + 8 * (i % 2)..].first_chunk().expect("eight bytes of signs");
            let twos = _mm512_maskz_mov_epi8(u64::from_le_bytes(*signs), _mm512_set1_epi8(2));
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), twos, load_codes(&codes[i]))
        }));
        let isum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, load_i32(&y.sums)));
        (isum, avx512::scaled(avx2::scales(blocks), y))
    });
}
