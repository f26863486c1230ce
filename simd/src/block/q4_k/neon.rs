//! Q4_K for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! A super-block costs 80 instructions: 8 loads of codes and 16 of activations, 16 for the nibbles,
//! 16 `sdot`, 8 multiplications, and 16 for unpacking scales and minima.

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
    let low_four = vdupq_n_u8(15);
    [vandq_u8(first, low_four), vandq_u8(second, low_four), vshrq_n_u8::<4>(first), vshrq_n_u8::<4>(second)]
}
