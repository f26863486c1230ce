//! IQ4_NL for NEON; data flow and bounds: [`crate::block::windows::neon`]. Here `tbl` looks the codes up in
//! their table, and they enter as they are.

use core::arch::aarch64::*;

use super::{BYTES, qs, scalar};
use crate::activation::Q8Window;
use crate::block::tables::{IQ4, bytes};
use crate::block::windows::neon;
use crate::isa::Neon;
use crate::isa::neon::{Dot, lookup};
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
    neon::gemv(weights, x, out, |dot: D, blocks: &[[u8; BYTES]; 8], y| {
        let isum = neon::block_sums(dot, |k| codes(&blocks[k]), 0, y);
        (isum, neon::scaled(neon::f16s::<BYTES, 0>(blocks), y))
    });
}

/// What the codes of a block stand for.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: &[u8; BYTES]) -> (int8x16_t, int8x16_t) {
    const SIGNED: [u8; 16] = bytes(&IQ4, 0);
    let (first, second) = neon::nibbles(qs(block));
    neon::signed((lookup(&SIGNED, first), lookup(&SIGNED, second)))
}
