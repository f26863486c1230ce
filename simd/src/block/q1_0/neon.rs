//! Q1_0 for NEON; data flow and bounds: [`crate::block::windows::neon`]. Here signs become bytes of ones, and
//! these codes of 1 and -1.

use core::arch::aarch64::*;

use super::{BYTES, scalar, signs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::neon;
use crate::isa::neon::{Dot, ones};

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "neon")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, compiled for this tier.
#[target_feature(enable = "neon")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode(row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "neon")]
pub(crate) fn gemv<D: Dot>(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    neon::gemv(weights, x, out, |dot: D, blocks: &[[u8; BYTES]; 2], y| {
        let isum = neon::block_sums(dot, |k| codes(signs(&blocks[k / 4], k % 4)), 0, y);
        let d = array::two(|i| {
            let d = vdup_n_u16(u16::from_le_bytes([blocks[i][0], blocks[i][1]]));
            vcvt_f32_f16(vreinterpret_f16_u16(d))
        });
        (isum, neon::scaled(d, y))
    });
}

/// The codes of 32 weights.
#[inline]
#[target_feature(enable = "neon")]
fn codes(signs: u32) -> (int8x16_t, int8x16_t) {
    // A byte of ones is -1: that makes 1 of it, and -1 of the others.
    let of = |signs: u32| {
        let ones = vreinterpretq_s8_u8(ones(signs as u16));
        vsubq_s8(vdupq_n_s8(-1), vaddq_s8(ones, ones))
    };
    (of(signs), of(signs >> 16))
}
