//! MXFP4 for NEON; data flow and bounds: [`crate::block::windows::neon`]. Here `tbl` looks the codes up in
//! their table, and they enter as they are.

use core::arch::aarch64::*;

use super::{BYTES, qs, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::tables::{FP4, bytes};
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
        (isum, neon::scaled(scales(blocks), y))
    });
}

/// What the codes of a block stand for.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: &[u8; BYTES]) -> (int8x16_t, int8x16_t) {
    const SIGNED: [u8; 16] = bytes(&FP4, 0);
    let (first, second) = neon::nibbles(qs(block));
    neon::signed((lookup(&SIGNED, first), lookup(&SIGNED, second)))
}

/// `d` of eight blocks, as [`super::scale`] computes it.
#[inline]
#[target_feature(enable = "neon")]
fn scales(blocks: &[[u8; BYTES]; 8]) -> neon::Eight {
    let e = vmovl_u8(vcreate_u8(u64::from_le_bytes(array::build(|k| blocks[k][0]))));
    let scale = |e: uint32x4_t| {
        let (e, one) = (vreinterpretq_s32_u32(e), vdupq_n_s32(1));
        let normal = vshlq_n_s32::<23>(vsubq_s32(e, one));
        vreinterpretq_f32_s32(vmaxq_s32(normal, vshlq_n_s32::<21>(vaddq_s32(e, one))))
    };
    [scale(vmovl_u16(vget_low_u16(e))), scale(vmovl_high_u16(e))]
}
