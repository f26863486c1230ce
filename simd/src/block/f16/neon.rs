//! F16 for NEON; data flow: [`crate::block::float::neon`].

use core::arch::aarch64::*;

use super::scalar;
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
    let bytes = weights.as_flattened().as_chunks().0;
    let (a, b) = (vreinterpretq_f16_u8(load_u8(&bytes[0])), vreinterpretq_f16_u8(load_u8(&bytes[1])));
    [vcvt_f32_f16(vget_low_f16(a)), vcvt_high_f32_f16(a), vcvt_f32_f16(vget_low_f16(b)), vcvt_high_f32_f16(b)]
}
