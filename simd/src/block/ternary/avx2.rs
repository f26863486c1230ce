//! The AVX2 kernels of the ternary types: what they share.

use core::arch::x86_64::*;

use crate::activation::Q8KWindow;
use crate::block::k::avx2::{dot, load_sums};

/// Lanes that add up to the sum of products; `codes[k]`, each at most 3, are those of weights `32 k ..`.
///
/// All products fit 16 bits: 16 * 3 * 127 = 6096. What the codes are too large by takes away the sums of
/// the activations, two to a lane.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn sum(codes: [__m256i; 8], y: &Q8KWindow) -> __m256i {
    let mut sum = dot(codes[0], y, 0);
    for (k, &codes) in codes.iter().enumerate().skip(1) {
        sum = _mm256_add_epi16(sum, dot(codes, y, k));
    }
    _mm256_madd_epi16(_mm256_sub_epi16(sum, load_sums(y)), _mm256_set1_epi16(1))
}
