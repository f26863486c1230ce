//! TQ1_0 for AVX2; data flow and bounds: [`crate::block::k::avx2`], [`crate::block::ternary::avx2`].
//!
//! Fractions are tripled by two additions. The trit of a fraction `f` is `(f > 85) + (f > 170)`; with
//! `g = f - 1`, or 0 for 0, it is the top two bits of the average of `g` and half of `g`, both rounded
//! up, which are two instructions.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::avx2;
use crate::block::ternary;
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, load_256};
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
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    avx2::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y| {
        let mut sum = _mm256_setzero_si256();
        let mut fractions = load_256(block.first_chunk().expect("the first 32 bytes"));
        for n in 0..5 {
            sum = ternary::avx2::add(sum, trits(fractions), y, n);
            fractions = tripled(fractions);
        }
        // The next 16 bytes, and three times them, in one vector: two trits at a time.
        let low = load_128(block[32..].first_chunk().expect("16 bytes"));
        let three = _mm_add_epi8(low, _mm_add_epi8(low, low));
        let mut fractions = _mm256_set_m128i(three, low);
        for k in 5..7 {
            sum = ternary::avx2::add(sum, trits(fractions), y, k);
            fractions = tripled(tripled(fractions));
        }
        let last = _mm256_set_m128i(qh(block), _mm256_castsi256_si128(fractions));
        ternary::avx2::unbiased(ternary::avx2::add(sum, trits(last), y, 7), y)
    });
}

/// Three times each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn tripled(bytes: __m256i) -> __m256i {
    _mm256_add_epi8(bytes, _mm256_add_epi8(bytes, bytes))
}

/// The four bytes that hold four trits, times 1, 3, 9 and 27.
#[inline]
#[target_feature(enable = "avx2")]
fn qh(block: &[u8; BLOCK_BYTES]) -> __m128i {
    let bytes = i32::from_le_bytes([block[48], block[49], block[50], block[51]]);
    let words = _mm256_cvtepu8_epi16(_mm_set1_epi32(bytes));
    let powers = _mm256_setr_epi16(1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27);
    let products = _mm256_and_si256(_mm256_mullo_epi16(words, powers), _mm256_set1_epi16(0xff));
    let packed = _mm256_packus_epi16(products, products);
    _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b10_00>(packed))
}

/// The trits of fractions.
#[inline]
#[target_feature(enable = "avx2")]
fn trits(fractions: __m256i) -> __m256i {
    let below = _mm256_subs_epu8(fractions, _mm256_set1_epi8(1));
    let average = _mm256_avg_epu8(below, _mm256_avg_epu8(below, _mm256_setzero_si256()));
    _mm256_and_si256(_mm256_srli_epi16::<6>(average), _mm256_set1_epi8(3))
}
