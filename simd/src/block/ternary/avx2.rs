//! The AVX2 kernels of the ternary types: what they share.

use core::arch::x86_64::*;

use crate::activation::Q8KWindow;
use crate::block::k::avx2::{dot, load_sums};

/// Adds the products of codes, each at most 3, with activations `32 k ..` to sums of 16 bits, which all
/// of a super-block fit: 16 * 3 * 127 = 6096.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn add(sum: __m256i, codes: __m256i, y: &Q8KWindow, k: usize) -> __m256i {
    _mm256_add_epi16(sum, dot(codes, y, k))
}

/// Lanes that add up to the sum of products with codes less 1: that takes away the sums of the
/// activations, one of which is for as many as a lane has products.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn unbiased(sum: __m256i, y: &Q8KWindow) -> __m256i {
    _mm256_madd_epi16(_mm256_sub_epi16(sum, load_sums(y)), _mm256_set1_epi16(1))
}
