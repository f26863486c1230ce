//! The definition of F16.

use crate::block::float;
use crate::half_float::{f16_to_f32, f32_to_f16};

/// The value of one weight.
#[inline(always)]
fn value(bytes: &[u8; 2]) -> f32 {
    f16_to_f32(u16::from_le_bytes(*bytes))
}

/// Decodes `blocks` into as many floats.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (bytes, out) in blocks.as_chunks().0.iter().zip(out) {
        *out = value(bytes);
    }
}

/// Encodes each value by itself; there is nothing to search, so the importance does not matter.
#[inline(always)]
pub(crate) fn encode(row: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    for (&value, out) in row.iter().zip(out.as_chunks_mut().0) {
        *out = f32_to_f16(value).to_le_bytes();
    }
}

/// `out[r] = sum of w[r][i] * x[i]`, in 16 lanes.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[f32], out: &mut [f32]) {
    float::gemv(weights, x, out, value);
}
