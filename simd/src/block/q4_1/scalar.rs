//! The definition of Q4_1.

use super::{BYTES, qs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::search;
use crate::block::windows::{self, dot, f16_at, nibbles, pack_nibbles};

/// The codes `q`.
#[inline(always)]
fn codes(block: &[u8; BYTES]) -> [i8; 32] {
    array::map(&nibbles(qs(block)), |q| q as i8)
}

/// Decodes `blocks` into 32 floats each: a product, then a sum.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        *out = array::map(&codes(block), |q| d * f32::from(q) + m);
    }
}

/// Encodes a row; see [`crate::block::search`].
#[inline(always)]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::for_each_block(row, importance, out, |block| {
        let (d, m, codes) = search::offset_grid::<15>(block);
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&d.to_le_bytes());
        bytes[2..4].copy_from_slice(&m.to_le_bytes());
        pack_nibbles(&codes, &mut bytes[4..]);
        bytes
    });
}

/// `out[r] = w[r] . x`; a block adds `fma(sum(y), m * dy, sum(q * y) * (d * dy))`.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block, y| {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        let isum = dot(&codes(block), y.codes) as f32;
        s + (y.sum as f32).mul_add(m * y.scale, isum * (d * y.scale))
    });
}
