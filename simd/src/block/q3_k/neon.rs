//! Q3_K for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Codes enter 4 too large, which keeps them below 8: `4 * scale * sum(y)` is subtracted per sub-block.
//! Sixteen codes are two shifts and two masks of the bytes that hold their bits.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, Block, scalar, scales};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::k::neon;
use crate::isa::Neon;
use crate::isa::neon::{Dot, load_codes, load_u8};
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
        let scales = array::map(&scales::unpack(block.scales()), |scale| scale as i8 - 32);
        let sum = neon::scaled_by_16(dot, scales, y, |half, i| codes(block, half, i));
        vsubq_s32(sum, vshlq_n_s32::<2>(neon::scaled_sums(load_codes(&scales), y)))
    });
}

/// The codes of sub-blocks `8 half + i`, and 2, 4 and 6 further.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: Block<'_>, half: usize, i: usize) -> [uint8x16_t; 4] {
    let qs = load_u8(&block.qs().as_chunks().0[2 * half + i]);
    let hmask = load_u8(&block.hmask().as_chunks().0[i]);
    // The half's four bits of a byte, each brought to bit 2.
    let hmask = if half == 0 { hmask } else { vshrq_n_u8::<4>(hmask) };
    let high = [vshlq_n_u8::<2>(hmask), vshlq_n_u8::<1>(hmask), hmask, vshrq_n_u8::<1>(hmask)];
    let (low, bit) = (neon::pairs_of_bits(qs), vdupq_n_u8(4));
    array::four(|k| vorrq_u8(low[k], vandq_u8(high[k], bit)))
}
