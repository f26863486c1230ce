//! What IQ1_S has vectors for on x86-64; the kernels are in [`crate::block::codebook`].

use core::arch::x86_64::*;

use super::BYTES;
use crate::block::codebook::avx2::{factors, places, sixteen_indices, store_indices};
use crate::block::codebook::{Indices, bytes_at};
use crate::isa::avx2::{load_128, load_codes};

/// See [`crate::block::codebook::Codebook::indices`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn indices(block: &[u8; BYTES], out: &mut Indices) {
    const PLACES: [[i8; 32]; 2] = [places(0, 4, 2), places(4, 4, 2)];
    const FACTORS: [u16; 16] = factors(4, 3);
    let high = load_128(bytes_at(block, 34));
    // The high bits of each fourth index move down by one.
    let fourth = _mm256_set1_epi64x(0x0700 << 48);
    let lower = _mm256_broadcastsi128_si256(_mm_srli_epi16::<1>(high));
    for (h, places) in PLACES.iter().enumerate() {
        let three = sixteen_indices(bytes_at(block, 2 + 16 * h), high, places, &FACTORS, 0x700);
        let fourths = _mm256_and_si256(_mm256_shuffle_epi8(lower, load_codes(places)), fourth);
        store_indices(_mm256_or_si256(three, fourths), out, h);
    }
}
