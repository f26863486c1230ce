//! The NEON kernels of the ternary types: what they share.

use core::arch::aarch64::*;

use crate::activation::Q8KWindow;
use crate::isa::neon::{Dot, load_codes};

/// Lanes that add up to the sum of products; `codes(k)` gives the codes of weights `16 k ..`, less 1.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn sum<D: Dot>(dot: D, y: &Q8KWindow, codes: impl Fn(usize) -> int8x16_t) -> int32x4_t {
    let mut sum = vdupq_n_s32(0);
    for (k, y) in y.codes.as_chunks().0.iter().enumerate() {
        sum = dot.add(sum, codes(k), load_codes(y));
    }
    sum
}
