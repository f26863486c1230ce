//! Q5_K for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! A super-block costs 114 instructions: Q4_K's 80, 2 loads of fifth bits and 32 that test and
//! insert them.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, Block, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::{neon, scales};
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
    neon::gemv_with_minima::<D, BLOCK_BYTES, 0>(weights, x, out, |dot, block, y| {
        let block = Block(block);
        let (scales, minima) = scales::unpack(block.scales());
        (neon::scaled_by_32(dot, scales, y, |c| codes(block, c)), neon::minima_sums(minima, y))
    });
}

/// The codes of weights `64 c ..`.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: Block<'_>, c: usize) -> [uint8x16_t; 4] {
    let qs = &block.qs().as_chunks().0;
    let (first, second) = (load_u8(&qs[2 * c]), load_u8(&qs[2 * c + 1]));
    // Bit `2 c` of a byte belongs to the low nibble, bit `2 c + 1` to the high one.
    let qh = &block.qh().as_chunks().0;
    let down = vdupq_n_s8(-2 * c as i8);
    let (first_bits, second_bits) = (vshlq_u8(load_u8(&qh[0]), down), vshlq_u8(load_u8(&qh[1]), down));
    let (low_four, fifth) = (vdupq_n_u8(15), vdupq_n_u8(16));
    let low = |qs, bits| vorrq_u8(vandq_u8(qs, low_four), vandq_u8(vshlq_n_u8::<4>(bits), fifth));
    let high = |qs, bits| vorrq_u8(vshrq_n_u8::<4>(qs), vandq_u8(vshlq_n_u8::<3>(bits), fifth));
    [low(first, first_bits), low(second, second_bits), high(first, first_bits), high(second, second_bits)]
}
