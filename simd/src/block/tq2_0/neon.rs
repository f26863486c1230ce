//! TQ2_0 for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Each two bits of 16 bytes are the codes of 16 weights; 1 is subtracted from them.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, qs, scalar};
use crate::activation::Q8KWindow;
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
        let (qs, ys) = (qs(block).as_chunks().0, y.codes.as_chunks().0);
        let mut sum = vdupq_n_s32(0);
        for half in 0..2 {
            for i in 0..2 {
                let codes = neon::pairs_of_bits(load_u8(&qs[2 * half + i]));
                for k in 0..4 {
                    let codes = vsubq_s8(vreinterpretq_s8_u8(codes[k]), vdupq_n_s8(1));
                    sum = dot.add(sum, codes, load_codes(&ys[8 * half + 2 * k + i]));
                }
            }
        }
        sum
    });
}
