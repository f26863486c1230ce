//! Q2_0 for NEON; data flow and bounds: [`crate::block::windows::neon`]. Codes enter less 1.

use core::arch::aarch64::*;

use super::{BYTES, qs, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::neon;
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
pub(crate) fn gemv<D: Dot>(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    neon::gemv(weights, x, out, |dot: D, blocks: &[[u8; BYTES]; 4], y| {
        let isum = neon::block_sums(dot, |k| codes(&blocks[k / 2], k % 2), 0, y);
        let d = array::two(|i| {
            let twice = |k: usize| 0x0001_0001 * u64::from(u16::from_le_bytes([blocks[k][0], blocks[k][1]]));
            vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(twice(2 * i) | twice(2 * i + 1) << 32)))
        });
        (isum, neon::scaled(d, y))
    });
}

/// The codes of half a block.
#[inline]
#[target_feature(enable = "neon")]
fn codes(block: &[u8; BYTES], half: usize) -> (int8x16_t, int8x16_t) {
    const FOUR_TIMES: [u8; 16] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3];
    const DOWN: [i8; 16] = [0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6];
    let (bytes, first) = (load_u8(qs(block)), 8 * half as u8);
    let of = |first: u8| {
        let copies = vqtbl1q_u8(bytes, vaddq_u8(load_u8(&FOUR_TIMES), vdupq_n_u8(first)));
        let codes = vandq_u8(vshlq_u8(copies, load_codes(&DOWN)), vdupq_n_u8(3));
        vsubq_s8(vreinterpretq_s8_u8(codes), vdupq_n_s8(1))
    };
    (of(first), of(first + 4))
}
