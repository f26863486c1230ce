//! The codebook types for AVX2; data flow and bounds: [`crate::block::k::avx2`].
//!
//! Entries enter unsigned. Marks become bytes of ones: they negate activations, which never are -128, or raise
//! entries. Two products are at most 2 * 62 * 127 = 15748 in magnitude together.

use core::arch::x86_64::*;

use super::{Codebook, Entries, Marks, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, load_codes, ones};

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn decode<const B: usize, C: Codebook<B>>(blocks: &[u8], out: &mut [f32]) {
    scalar::decode::<B, C>(blocks, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv<const B: usize, C: Codebook<B>>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let isa = Avx2::here();
    avx2::gemv_in_units(weights, x, out, C::UNIT, C::d, |block: &[u8; B], y| {
        let (marks, scales) = (C::marks(block), load_128(&C::scales(block)));
        let sum = avx2::scaled_by_16(scales, |k| {
            let entries = C::entries(block, k / 2).vector_256(isa, k % 2);
            let mask = ones((marks[k / 2] >> (32 * (k % 2))) as u32);
            let y = load_codes(&y.codes.as_chunks().0[k]);
            match C::MARKS {
                Marks::Negate => _mm256_maddubs_epi16(entries, negated(y, mask)),
                Marks::Raise => _mm256_maddubs_epi16(raised(entries, mask), y),
            }
        });
        match C::MARKS {
            Marks::Negate => sum,
            Marks::Raise => {
                let sums = _mm256_madd_epi16(_mm256_cvtepu8_epi16(scales), avx2::load_sums(y));
                let bias = _mm256_set1_epi32(i32::from(C::MARKS.bias()));
                _mm256_sub_epi32(sum, _mm256_mullo_epi32(sums, bias))
            }
        }
    });
}

/// Numbers, of which those are negated that the mask covers.
#[inline]
#[target_feature(enable = "avx2")]
fn negated(numbers: __m256i, mask: __m256i) -> __m256i {
    _mm256_sub_epi8(_mm256_xor_si256(numbers, mask), mask)
}

/// Entries, of which those are two more that the mask covers.
#[inline]
#[target_feature(enable = "avx2")]
fn raised(entries: __m256i, mask: __m256i) -> __m256i {
    _mm256_sub_epi8(entries, _mm256_add_epi8(mask, mask))
}

/// Stores the codes of entries plus `bias`, which wraps.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_codes(entries: __m256i, marks: u32, how: Marks, bias: u8, out: &mut [u8; 32]) {
    let codes = match how {
        Marks::Negate => negated(entries, ones(marks)),
        Marks::Raise => raised(entries, ones(marks)),
    };
    let codes = _mm256_add_epi8(codes, _mm256_set1_epi8(bias.wrapping_sub(how.bias()).cast_signed()));
    // SAFETY: 32 bytes are stored into 32.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), codes) };
}
