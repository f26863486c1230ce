//! IQ4_XS for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! `tbl` looks the codes up in their table, and they enter as they are.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, Block, scalar, scales};
use crate::activation::Q8KWindow;
use crate::block::k::neon;
use crate::block::tables::{IQ4, bytes};
use crate::isa::Neon;
use crate::isa::neon::{Dot, load_u8, lookup};
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
    const SIGNED: [u8; 16] = bytes(&IQ4, 0);
    neon::gemv::<D, BLOCK_BYTES, 0>(weights, x, out, |dot, block, y| {
        let block = Block(block);
        let mut sum = vdupq_n_s32(0);
        for (j, scale) in scales::unpack(block.scales()).into_iter().enumerate() {
            let qs = load_u8(&block.qs().as_chunks().0[j]);
            let low = lookup(&SIGNED, vandq_u8(qs, vdupq_n_u8(15)));
            let high = lookup(&SIGNED, vshrq_n_u8::<4>(qs));
            let half = neon::dot(dot, vdupq_n_s32(0), low, y, 2 * j);
            sum = vmlaq_n_s32(sum, neon::dot(dot, half, high, y, 2 * j + 1), i32::from(scale) - 32);
        }
        sum
    });
}
