//! The search behind the encoder of NVFP4.
//!
//! A scale is one of 127 floats, each an eighth or less above the one before. The one under which the weight of
//! largest magnitude becomes the largest value is near the best, so sixteen around it are tried, a lane each:
//! larger ones, which waste range, down to those under which the largest weight is clipped at half its size and
//! the others are finer. The least squared error wins, weighted by the importance if given.

use super::{BYTES, LEN, scale};
use crate::block::k::{error_weights, usable};
use crate::block::mxfp4::search::{magnitude, nearest, value_code};
use crate::wide::{LANES, Wide};

/// Scales tried above the one that makes the largest weight the largest value.
const ABOVE: u8 = 3;

/// The largest scale, as a byte.
const LARGEST: u8 = 0x7e;

/// Encodes a row.
#[inline(always)]
pub(super) fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let blocks = row.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0);
    for (i, (row, block)) in blocks.enumerate() {
        let weights = error_weights(importance.and_then(|all| all.as_chunks::<LEN>().0.get(i)));
        let (scales, qs) = block.split_at_mut(4);
        let parts = row.as_chunks::<16>().0.iter().zip(weights.as_chunks::<16>().0);
        for ((x, weights), (byte, qs)) in parts.zip(scales.iter_mut().zip(qs.as_chunks_mut::<8>().0)) {
            let x = crate::array::map(x, |x| usable(x).clamp(-65536.0, 65536.0));
            *byte = best_scale::<V>(isa, &x, weights);
            let d = scale(*byte);
            let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
            let codes = value_code(V::load(isa, &x) * V::splat(isa, inverse)).store();
            for (j, q) in qs.iter_mut().enumerate() {
                *q = codes[j] as u8 | (codes[j + 8] as u8) << 4;
            }
        }
    }
}

/// The byte of the scale of least error.
#[inline(always)]
fn best_scale<V: Wide>(isa: V::Proof, x: &[f32; 16], weights: &[f32; 16]) -> u8 {
    let mut largest = 0.0f32;
    for x in x {
        largest = if x.abs() > largest { x.abs() } else { largest };
    }
    let top = fitting(largest).saturating_add(ABOVE).min(LARGEST);
    let (mut bytes, mut scales) = ([0; LANES], [0.0; LANES]);
    for l in 0..LANES {
        bytes[l] = top.saturating_sub(l as u8);
        scales[l] = scale(bytes[l]);
    }
    let scales = V::load(isa, &scales);
    let (inverse, mut error) = (scales.recip_or_zero(), V::splat(isa, 0.0));
    for (&x, &weight) in x.iter().zip(weights) {
        let x = V::splat(isa, x.abs());
        let off = nearest(magnitude(x * inverse)) * scales - x;
        error = error + V::splat(isa, weight) * (off * off);
    }
    let errors = error.store();
    let mut best = 0;
    for l in 1..LANES {
        best = if errors[l] < errors[best] { l } else { best };
    }
    bytes[best]
}

/// The smallest scale under which a magnitude is not above the largest value, or the largest there is.
#[inline(always)]
fn fitting(largest: f32) -> u8 {
    let wanted = largest / 12.0;
    let mut byte = 0;
    for bit in [0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01] {
        byte = if scale(byte + bit - 1) < wanted { byte + bit } else { byte };
    }
    byte.min(LARGEST)
}
