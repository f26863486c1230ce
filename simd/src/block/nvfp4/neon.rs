//! NVFP4 for NEON; data flow and bounds: [`crate::block::windows::neon`], with a sum and a scale for each sixteen
//! weights. Here `tbl` looks the codes up in their table, and they enter as they are.

use core::arch::aarch64::*;

use super::{BYTES, FROM_F16, NAN, qs, scalar};
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
    neon::gemv_of_halves(weights, x, out, |dot: D, blocks: &[[u8; BYTES]; 4], y| {
        let d = scales(blocks);
        let [first, last] = neon::half_block_sums(dot, |k| codes(&blocks[k / 2], k % 2), y);
        [(first, neon::scaled(d[0], y)), (last, neon::scaled(d[1], y))]
    });
}

/// What the codes of weights `32 part ..` stand for.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: &[u8; BYTES], part: usize) -> (int8x16_t, int8x16_t) {
    const SIGNED: [u8; 16] = bytes(&FP4, 0);
    let (low, high) = neon::nibbles(qs(block, part));
    let (low, high) = (vreinterpretq_u64_u8(low), vreinterpretq_u64_u8(high));
    let of = |nibbles| vreinterpretq_s8_u8(lookup(&SIGNED, vreinterpretq_u8_u64(nibbles)));
    (of(vtrn1q_u64(low, high)), of(vtrn2q_u64(low, high)))
}

/// `d` of the first and of the second half of each 32 weights, as [`super::scale`] computes it.
#[inline]
#[target_feature(enable = "neon")]
fn scales(blocks: &[[u8; BYTES]; 4]) -> [neon::Eight; 2] {
    let bytes: [[u8; 4]; 4] = array::build(|k| *blocks[k].first_chunk().expect("four scales"));
    let e = crate::isa::neon::load_u8(bytes.as_flattened().as_array().expect("sixteen scales"));
    let e = vreinterpretq_u16_u8(vbicq_u8(e, vceqq_u8(e, vdupq_n_u8(NAN))));
    let bits = vdupq_n_u16(0x3f80);
    let halves = |e: uint16x8_t| {
        let e = vreinterpretq_f16_u16(vandq_u16(e, bits));
        [vmulq_n_f32(vcvt_f32_f16(vget_low_f16(e)), FROM_F16), vmulq_n_f32(vcvt_high_f32_f16(e), FROM_F16)]
    };
    [halves(vshlq_n_u16::<7>(e)), halves(vshrq_n_u16::<1>(e))]
}
