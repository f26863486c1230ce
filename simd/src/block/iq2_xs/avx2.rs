//! What IQ2_XS has vectors for on x86-64; the kernels are in [`crate::block::codebook`].

use core::arch::x86_64::*;

use super::{BYTES, Book};
use crate::block::codebook::avx2::marks_of_halves;
use crate::block::codebook::{Indices, bytes_at};
use crate::isa::avx2::load_256;

/// The indices, each below seven marks.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(block: &[u8; BYTES]) -> [__m256i; 2] {
    [load_256(bytes_at(block, 2)), load_256(bytes_at(block, 34))]
}

/// See [`crate::block::codebook::Codebook::indices`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn indices(block: &[u8; BYTES], out: &mut Indices<BYTES, Book>) {
    let (low_nine, [first, second]) = (_mm256_set1_epi16(511), halves(block));
    out.store(0, _mm256_and_si256(first, low_nine));
    out.store(1, _mm256_and_si256(second, low_nine));
}

/// See [`crate::block::codebook::Codebook::marks`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn marks(block: &[u8; BYTES]) -> [u64; 4] {
    marks_of_halves(halves(block))
}
