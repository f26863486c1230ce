//! BF16 for NEON; data flow: [`crate::block::float::neon`].

use core::arch::aarch64::*;

use super::scalar;
use crate::array;
use crate::block::float::neon;
use crate::isa::neon::load_u8;

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
pub(crate) fn gemv(weights: &[u8], x: &[f32], out: &mut [f32]) {
    neon::gemv(weights, x, out, |w| widen(w));
}

/// Sixteen weights as floats.
#[inline]
#[target_feature(enable = "neon")]
fn widen(weights: &[[u8; 2]; 16]) -> [float32x4_t; 4] {
    let zero = vdupq_n_u16(0);
    let bytes = weights.as_flattened().as_chunks().0;
    let (a, b) = (vreinterpretq_u16_u8(load_u8(&bytes[0])), vreinterpretq_u16_u8(load_u8(&bytes[1])));
    // A zero below each of them is the lower half of the float.
    let words = [vzip1q_u16(zero, a), vzip2q_u16(zero, a), vzip1q_u16(zero, b), vzip2q_u16(zero, b)];
    array::four(|i| vreinterpretq_f32_u16(words[i]))
}
