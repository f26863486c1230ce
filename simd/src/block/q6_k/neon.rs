//! Q6_K for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Codes enter 32 too large, which keeps them below 64: `32 * scale * sum(y)` is subtracted per
//! sub-block. A super-block costs 125 instructions: 12 loads of codes and 16 of activations, 56 for
//! the codes, 16 `sdot`, 16 multiplications, 9 for the bias.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, Block, scalar};
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
        let mut sum = vdupq_n_s32(0);
        for (j, scale) in block.scales().iter().enumerate() {
            let sum_of_16 = neon::dot(dot, vdupq_n_s32(0), codes(block, j), y, j);
            sum = vmlaq_n_s32(sum, sum_of_16, i32::from(scale.cast_signed()));
        }
        let scales = vreinterpretq_s8_u8(load_u8(block.scales()));
        vsubq_s32(sum, vshlq_n_s32::<5>(neon::scaled_sums(scales, y)))
    });
}

/// The codes of sub-block `j`.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: Block<'_>, j: usize) -> uint8x16_t {
    let (half, part) = (j / 8, j % 8);
    let ql = load_u8(&block.ql().as_chunks().0[4 * half + part % 4]);
    let qh = load_u8(&block.qh().as_chunks().0[2 * half + part % 2]);
    let low = if part < 4 { vandq_u8(ql, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(ql) };
    let high = match part / 2 {
        0 => vshlq_n_u8::<4>(qh),
        1 => vshlq_n_u8::<2>(qh),
        2 => qh,
        _ => vshrq_n_u8::<2>(qh),
    };
    vorrq_u8(low, vandq_u8(high, vdupq_n_u8(48)))
}
