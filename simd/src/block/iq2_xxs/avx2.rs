//! What IQ2_XXS has vectors for on x86-64; the kernels are in [`crate::block::codebook`].

use core::arch::x86_64::*;

use super::BYTES;
use crate::block::codebook::avx2::marks_of_words;
use crate::block::codebook::bytes_at;
use crate::isa::avx2::load_256;

/// See [`crate::block::codebook::Codebook::marks`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn marks(block: &[u8; BYTES]) -> [u64; 4] {
    // The second word of each two, of which the shuffle takes four times two.
    let load = |at: usize| _mm256_castsi256_ps(load_256(bytes_at(block, at)));
    let words = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(load(2), load(34)));
    marks_of_words(_mm256_permute4x64_epi64::<0b11_01_10_00>(words))
}
