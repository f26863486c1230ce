//! What IQ1_M has vectors for on x86-64; the kernels are in [`crate::block::codebook`].

use core::arch::x86_64::*;

use super::{BYTES, Book};
use crate::block::codebook::avx2::{factors, places, sixteen_indices, stored};
use crate::block::codebook::{Indices, bytes_at};
use crate::isa::avx2::load_128;

/// See [`crate::block::codebook::Codebook::indices`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn indices(block: &[u8; BYTES], out: &mut Indices<BYTES, Book>) {
    const PLACES: [[i8; 32]; 2] = [places(0, 2, 1), places(8, 2, 1)];
    const FACTORS: [u16; 16] = factors(2, 4);
    let high = load_128(bytes_at(block, 32));
    for (h, places) in PLACES.iter().enumerate() {
        let low = bytes_at(block, 16 * h);
        out.store(h, sixteen_indices(low, high, places, &FACTORS, 0x700));
    }
}

/// See [`crate::block::codebook::Codebook::marks`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn marks(block: &[u8; BYTES]) -> [u64; 4] {
    let nibbles = load_128(bytes_at(block, 32));
    // Bit 3 of each nibble as the sign of a byte of its own.
    let even = _mm_slli_epi16::<4>(nibbles);
    let signs = _mm256_set_m128i(_mm_unpackhi_epi8(even, nibbles), _mm_unpacklo_epi8(even, nibbles));
    stored(_mm256_cmpgt_epi8(signs, _mm256_set1_epi8(-1)))
}
