//! IQ1_S on x86-64.
//!
//! The marks of a sub-block are equal. So they need not be added to its 32 entries: a sub-block's sum is that of its
//! entries times activations, less nine times the sum of its activations, or seven times.

use core::arch::x86_64::*;

use super::{BYTES, Book};
use crate::activation::Q8KWindow;
use crate::block::codebook::avx2::{WORDS, factors, places, sixteen_indices};
use crate::block::codebook::{Entry, Indices, bytes_at};
use crate::block::k::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, load_codes};

/// See [`crate::block::codebook::Codebook::indices`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn indices(block: &[u8; BYTES], out: &mut Indices<BYTES, Book>) {
    const PLACES: [[i8; 32]; 2] = [places(0, 4, 2), places(4, 4, 2)];
    const FACTORS: [u16; 16] = factors(4, 3);
    let high = load_128(bytes_at(block, 34));
    // The high bits of each fourth index move down by one.
    let fourth = _mm256_set1_epi64x(0x0700 << 48);
    let lower = _mm256_broadcastsi128_si256(_mm_srli_epi16::<1>(high));
    for (h, places) in PLACES.iter().enumerate() {
        let three = sixteen_indices(bytes_at(block, 2 + 16 * h), high, places, &FACTORS, 0x700);
        let fourths = _mm256_and_si256(_mm256_shuffle_epi8(lower, load_codes(places)), fourth);
        out.store(h, _mm256_or_si256(three, fourths));
    }
}

/// Lanes that add up to `isum`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum(block: &[u8; BYTES], y: &Q8KWindow, isa: Avx2) -> __m256i {
    let mut indices = Indices::new();
    self::indices(block, &mut indices);
    let scales = scales(block);
    let both = _mm256_broadcastsi128_si256(scales);
    let mut sum = sums(block, scales, y);
    for (j, places) in WORDS.iter().enumerate() {
        let entries = u64::vector_256(isa, 0, |g| indices.lone_entry(4 * j + g));
        let scale = _mm256_shuffle_epi8(both, load_codes(places));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(avx2::dot(entries, y, j), scale));
    }
    sum
}

/// The scales of the eight sub-blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn scales(block: &[u8; BYTES]) -> __m128i {
    let twice = _mm_srli_epi16::<11>(load_128(bytes_at(block, 34)));
    _mm_or_si128(_mm_and_si128(twice, _mm_set1_epi16(14)), _mm_set1_epi16(1))
}

/// Lanes that add up to what bias and marks contribute: -9 or -7 times the scale times the sum of each sub-block.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(block: &[u8; BYTES], scales: __m128i, y: &Q8KWindow) -> __m256i {
    // The highest bit of a half says that weights are less; it is never zero, which would have no sign.
    let signs = _mm_or_si128(load_128(bytes_at(block, 34)), _mm_set1_epi16(1));
    let factors = _mm_sub_epi16(_mm_sign_epi16(scales, signs), _mm_slli_epi16::<3>(scales));
    let twice = _mm256_set_m128i(_mm_unpackhi_epi16(factors, factors), _mm_unpacklo_epi16(factors, factors));
    _mm256_madd_epi16(twice, avx2::load_sums(y))
}
