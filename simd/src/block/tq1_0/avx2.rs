//! TQ1_0 for AVX2; data flow: [`crate::block::k::avx2`].
//!
//! The trit of a fraction `f` less one, which is its code, is negative up to 85 and positive from 171 on. Of `f - 128`,
//! as signed bytes, that is the sign of what is beyond -42 ..= 42, and activations take it over. Tripling, by two
//! additions, keeps the 128: three times 128 are 128 more than a whole.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, load_256, load_codes, opaque};
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
        let middle = _mm256_set1_epi8(i8::MIN);
        let mut sum = _mm256_setzero_si256();
        let mut fractions =
            _mm256_xor_si256(load_256(block.first_chunk().expect("the first 32 bytes")), middle);
        for n in 0..5 {
            sum = _mm256_add_epi16(sum, products(fractions, y, n));
            fractions = tripled(fractions);
        }
        // The next 16 bytes, and three times them, in one vector: two trits at a time.
        let low = load_128(block[32..].first_chunk().expect("16 bytes"));
        let three = _mm_add_epi8(low, _mm_add_epi8(low, low));
        let mut fractions = _mm256_xor_si256(_mm256_set_m128i(three, low), middle);
        for k in 5..7 {
            sum = _mm256_add_epi16(sum, products(fractions, y, k));
            fractions = tripled(tripled(fractions));
        }
        let rest = _mm_xor_si128(qh(block), _mm256_castsi256_si128(middle));
        let last = _mm256_set_m128i(rest, _mm256_castsi256_si128(fractions));
        _mm256_madd_epi16(_mm256_add_epi16(sum, products(last, y, 7)), _mm256_set1_epi16(1))
    });
}

/// The products of the codes of fractions less 128 with activations `32 k ..`, in pairs. (Those of a super-block are
/// together at most 16 * 127 in a lane.)
#[inline]
#[target_feature(enable = "avx2")]
fn products(fractions: __m256i, y: &Q8KWindow, k: usize) -> __m256i {
    let middle = _mm256_min_epi8(_mm256_max_epi8(fractions, _mm256_set1_epi8(-42)), _mm256_set1_epi8(42));
    let beyond = _mm256_sub_epi8(fractions, middle);
    let products = _mm256_sign_epi8(load_codes(&y.codes.as_chunks().0[k]), beyond);
    _mm256_maddubs_epi16(_mm256_set1_epi8(1), products)
}

/// Three times each byte. (Opaque, because the compiler would multiply by nine and 27 instead, which takes longer.)
#[inline]
#[target_feature(enable = "avx2")]
fn tripled(bytes: __m256i) -> __m256i {
    opaque(_mm256_add_epi8(bytes, _mm256_add_epi8(bytes, bytes)))
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
