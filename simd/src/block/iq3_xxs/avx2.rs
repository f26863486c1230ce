//! What IQ3_XXS has vectors for on x86-64; the kernels are in [`crate::block::codebook`].

use super::BYTES;
use crate::block::codebook::avx2::marks_of_words;
use crate::isa::avx2::load_256;

/// See [`crate::block::codebook::Codebook::marks`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn marks(block: &[u8; BYTES]) -> [u64; 4] {
    marks_of_words(load_256(block.last_chunk().expect("a block ends with its marks")))
}
