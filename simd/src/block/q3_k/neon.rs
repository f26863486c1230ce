//! Q3_K for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Codes enter 4 too large, which keeps them below 8: `4 * scale * sum(y)` is subtracted per sub-block.
//! Sixteen codes are two shifts and two masks of the bytes that hold their bits.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, Block, scalar, scales};
use crate::activation::Q8KWindow;
use crate::block::k::lanes::neon::Neon;
use crate::block::k::neon;
use crate::isa::neon::{Dot, load_u8};

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "neon")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "neon")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<Neon>(row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "neon")]
pub(crate) fn gemv<D: Dot>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    neon::gemv::<D, BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |dot, block, y| {
        let block = Block(block);
        let scales = scales::unpack(block.scales());
        let mut sum = vdupq_n_s32(0);
        for (j, &scale) in scales.iter().enumerate() {
            let sum_of_16 = neon::dot(dot, vdupq_n_s32(0), codes(block, j), y, j);
            sum = vmlaq_n_s32(sum, sum_of_16, i32::from(scale) - 32);
        }
        let scales = vsubq_s8(vreinterpretq_s8_u8(load_u8(&scales)), vdupq_n_s8(32));
        vsubq_s32(sum, vshlq_n_s32::<2>(neon::scaled_sums(scales, y)))
    });
}

/// The codes of sub-block `j`.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: Block<'_>, j: usize) -> uint8x16_t {
    let (half, part) = (j / 8, j % 8);
    let qs = load_u8(&block.qs().as_chunks().0[2 * half + part % 2]);
    let hmask = load_u8(&block.hmask().as_chunks().0[part % 2]);
    let low = vandq_u8(neon::shifted_down(qs, part / 2 * 2), vdupq_n_u8(3));
    // Bit `4 half + part / 2` of a byte goes to bit 2.
    let high = match 4 * half + part / 2 {
        0 => vshlq_n_u8::<2>(hmask),
        1 => vshlq_n_u8::<1>(hmask),
        bit => neon::shifted_down(hmask, bit - 2),
    };
    vorrq_u8(low, vandq_u8(high, vdupq_n_u8(4)))
}
