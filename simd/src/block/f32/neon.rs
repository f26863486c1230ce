//! F32 for NEON; data flow: [`crate::block::float::neon`].

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
fn widen(weights: &[[u8; 4]; 16]) -> [float32x4_t; 4] {
    array::four(|i| vreinterpretq_f32_u8(load_u8(&weights.as_flattened().as_chunks().0[i])))
}
