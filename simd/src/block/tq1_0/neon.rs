//! TQ1_0 for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! A byte times a power of three is one multiplication; comparing the fraction with 85 and 170 gives its
//! trit less 1.

use core::arch::aarch64::*;

use super::{BLOCK_BYTES, scalar};
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
        let ys = y.codes.as_chunks().0;
        let bytes = |at: usize| load_u8(block[at..].first_chunk().expect("16 bytes"));
        let (first, second, third) = (bytes(0), bytes(16), bytes(32));
        let mut sum = vdupq_n_s32(0);
        for n in 0..5 {
            let power = vdupq_n_u8(POWERS[n]);
            sum = dot.add(sum, codes(vmulq_u8(first, power)), load_codes(&ys[2 * n]));
            sum = dot.add(sum, codes(vmulq_u8(second, power)), load_codes(&ys[2 * n + 1]));
            sum = dot.add(sum, codes(vmulq_u8(third, power)), load_codes(&ys[10 + n]));
        }
        let qh = u32::from_le_bytes([block[48], block[49], block[50], block[51]]);
        let powers = vcombine_u8(vcreate_u8(0x0303_0303_0101_0101), vcreate_u8(0x1b1b_1b1b_0909_0909));
        let last = vmulq_u8(vreinterpretq_u8_u32(vdupq_n_u32(qh)), powers);
        dot.add(sum, codes(last), load_codes(&ys[15]))
    });
}

/// What brings each of five trits to the top of a byte.
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// The codes, less 1, that are the highest trits of fractions.
#[inline]
#[target_feature(enable = "neon")]
fn codes(fractions: uint8x16_t) -> int8x16_t {
    // A comparison that holds gives -1.
    let above = |limit: u8| vreinterpretq_s8_u8(vcgtq_u8(fractions, vdupq_n_u8(limit)));
    vsubq_s8(vsubq_s8(vdupq_n_s8(-1), above(85)), above(170))
}
