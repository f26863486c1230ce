//! The definition of Q1_0.

use super::{BYTES, LEN, signs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::float;
use crate::block::grid::Grid;
use crate::block::k::{error_weights, normal_unit, round_to_half, usable};
use crate::block::windows::{self, dot, f16_at};

/// The codes of weights `32 part ..`: 1 and -1.
#[inline(always)]
fn codes(block: &[u8; BYTES], part: usize) -> [i8; 32] {
    let signs = signs(block, part);
    array::build(|i| if signs >> i & 1 == 1 { 1 } else { -1 })
}

/// Decodes `blocks` into 128 floats each.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
        let d = f16_at(block, 0);
        for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            *out = array::map(&codes(block, part), |q| d * f32::from(q));
        }
    }
}

/// Encodes a row. Whatever the scale, the nearest code is the sign, and under the signs the scale of least error
/// is the mean magnitude, weighted by the importance if given.
#[inline(always)]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let blocks = row.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0);
    for (i, (x, block)) in blocks.enumerate() {
        let unit = normal_unit(x);
        let weights = error_weights(importance.and_then(|all| all.as_chunks::<LEN>().0.get(i)));
        let (mut sums, mut totals) = ([0.0; 16], [0.0; 16]);
        for (l, (x, weight)) in x.iter().zip(weights).enumerate() {
            sums[l % 16] += weight * (usable(*x) / unit).abs();
            totals[l % 16] += weight;
        }
        let (half, _) = round_to_half(float::sum(sums) / float::sum(totals) * unit);
        block[..2].copy_from_slice(&half);
        for (bits, x) in block[2..].iter_mut().zip(x.as_chunks::<8>().0) {
            *bits = x.iter().rev().fold(0, |bits, x| bits << 1 | u8::from(usable(*x) >= 0.0));
        }
    }
}

/// The signs are the nearest codes under any scale.
pub(crate) const GRID: Option<Grid> = None;

/// `out[r] = w[r] . x`; 32 weights add `sum(q * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv_in_parts::<BYTES, 4>(weights, x, out, |s, block, part, y| {
        let isum = dot(&codes(block, part), y.codes) as f32;
        isum.mul_add(f16_at(block, 0) * y.scale, s)
    });
}
