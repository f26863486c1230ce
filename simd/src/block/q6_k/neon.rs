//! Q6_K for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Codes enter 32 too large, which keeps them below 64: `32 * scale * sum(y)` is subtracted per
//! sub-block. A super-block costs 125 instructions: 12 loads of codes and 16 of activations, 56 for
//! the codes, 16 `sdot`, 16 multiplications, 9 for the bias.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, Block, scalar};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::k::neon;
use crate::isa::Neon;
use crate::isa::neon::{Dot, load_u8};
use crate::wide::neon::NeonFloats;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "neon")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "neon")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<NeonFloats>(Neon::here(), row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "neon")]
pub(crate) fn gemv<D: Dot>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    neon::gemv::<D, BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |dot, block, y| {
        let block = Block(block);
        let scales = array::map(block.scales(), |scale| scale.cast_signed());
        let sum = neon::scaled_by_16(dot, scales, y, |half, i| codes(block, half, i));
        let scales = vreinterpretq_s8_u8(load_u8(block.scales()));
        vsubq_s32(sum, vshlq_n_s32::<5>(neon::scaled_sums(scales, y)))
    });
}

/// The codes of sub-blocks `8 half + i`, and 2, 4 and 6 further.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: Block<'_>, half: usize, i: usize) -> [uint8x16_t; 4] {
    let ql = &block.ql().as_chunks().0;
    let (first, second) = (load_u8(&ql[4 * half + i]), load_u8(&ql[4 * half + 2 + i]));
    let qh = load_u8(&block.qh().as_chunks().0[2 * half + i]);
    let (low_four, high_two) = (vdupq_n_u8(15), vdupq_n_u8(48));
    [
        vorrq_u8(vandq_u8(first, low_four), vandq_u8(vshlq_n_u8::<4>(qh), high_two)),
        vorrq_u8(vandq_u8(second, low_four), vandq_u8(vshlq_n_u8::<2>(qh), high_two)),
        vorrq_u8(vshrq_n_u8::<4>(first), vandq_u8(qh, high_two)),
        vorrq_u8(vshrq_n_u8::<4>(second), vandq_u8(vshrq_n_u8::<2>(qh), high_two)),
    ]
}
