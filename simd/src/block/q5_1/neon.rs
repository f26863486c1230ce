//! Q5_1 for NEON; data flow and bounds: [`crate::block::windows::neon`]. Here the codes enter as they are.

use core::arch::aarch64::*;

use super::scalar;
use super::{BYTES, qh, qs};
use crate::activation::Q8Window;
use crate::block::windows::neon;
use crate::isa::Neon;
use crate::isa::neon::Dot;
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
pub(crate) fn gemv<D: Dot>(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    neon::gemv_with_minima(weights, x, out, |dot: D, blocks: &[[u8; BYTES]; 8], y| {
        let isum = neon::block_sums(dot, |k| codes(&blocks[k]), 0, y);
        neon::terms(isum, neon::f16s::<BYTES, 0>(blocks), neon::f16s::<BYTES, 2>(blocks), y)
    });
}

/// The codes of a block.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: &[u8; BYTES]) -> (int8x16_t, int8x16_t) {
    neon::signed(neon::add_fifth_bits(neon::nibbles(qs(block)), qh(block)))
}
