//! TQ2_0 for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Each two bits of 16 bytes are the codes of 16 weights; 1 is subtracted from them. A super-block costs
//! 80 instructions: 4 loads of codes and 16 of activations, 12 shifts, 16 masks, 16 subtractions, 16 dots.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, qs, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::lanes::neon::Neon;
use crate::block::k::neon;
use crate::block::ternary;
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
        ternary::neon::sum(dot, y, |k| codes(block, k))
    });
}

/// The codes of weights `16 k ..`, less 1.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: &[u8; BLOCK_BYTES], k: usize) -> int8x16_t {
    let bytes = load_u8(&qs(block).as_chunks().0[2 * (k / 8) + k % 2]);
    let codes = vandq_u8(neon::shifted_down(bytes, 2 * (k / 2 % 4)), vdupq_n_u8(3));
    vsubq_s8(vreinterpretq_s8_u8(codes), vdupq_n_s8(1))
}
