//! The codebook types for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Marks become bytes of ones, and entries codes, which enter as they are.

use core::arch::aarch64::*;

use super::{Codebook, Entries, Marks, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::neon;
use crate::isa::Neon;
use crate::isa::neon::{Dot, ones};

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "neon")]
pub(crate) fn decode<const B: usize, C: Codebook<B>>(blocks: &[u8], out: &mut [f32]) {
    scalar::decode::<B, C>(blocks, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "neon")]
pub(crate) fn gemv<const B: usize, C: Codebook<B>, D: Dot>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let isa = Neon::here();
    neon::gemv_in_units(weights, x, out, C::UNIT, C::d, |dot: D, block: &[u8; B], y| {
        let (marks, scales) = (C::marks(block), C::scales(block));
        let mut sum = vdupq_n_s32(0);
        for k in 0..16 {
            let entries = C::entries(block, k / 4).vector_128(isa, k % 4);
            let codes = codes(entries, (marks[k / 4] >> (16 * (k % 4))) as u16, C::MARKS, 0);
            let sum_of_16 = neon::dot(dot, vdupq_n_s32(0), codes, y, k);
            sum = vmlaq_n_s32(sum, sum_of_16, i32::from(scales[k]));
        }
        sum
    });
}

/// The codes of entries plus `bias`, which wraps.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn codes(entries: uint8x16_t, marks: u16, how: Marks, bias: u8) -> uint8x16_t {
    let mask = ones(marks);
    let codes = match how {
        Marks::Negate => vsubq_u8(veorq_u8(entries, mask), mask),
        Marks::Raise => vsubq_u8(entries, vaddq_u8(mask, mask)),
    };
    vaddq_u8(codes, vdupq_n_u8(bias.wrapping_sub(how.bias())))
}
