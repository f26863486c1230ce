//! Q2_K for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Sixteen codes are a shift and a mask of the bytes that hold them; their dot with the activations of a
//! sub-block is multiplied by the scale.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, Block, HALVES, scalar};
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
    neon::gemv_with_minima::<D, BLOCK_BYTES, HALVES>(weights, x, out, |dot, block, y| {
        let block = Block(block);
        let scales = array::map(block.scales(), |byte| (byte & 15) as i8);
        let isum = neon::scaled_by_16(dot, scales, y, |half, i| {
            neon::pairs_of_bits(load_u8(&block.qs().as_chunks().0[2 * half + i]))
        });
        let minima = vshrq_n_u8::<4>(load_u8(block.scales()));
        (isum, neon::scaled_sums(vreinterpretq_s8_u8(minima), y))
    });
}
