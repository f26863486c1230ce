//! The definition of Q8_0.

use super::BYTES;
use crate::activation::Q8Window;
use crate::array;
use crate::block::search;
use crate::block::windows::{self, dot, f16_at};

/// The codes `q`.
#[inline(always)]
fn codes(block: &[u8; BYTES]) -> [i8; 32] {
    array::build(|i| block[2 + i] as i8)
}

/// Decodes `blocks` into 32 floats each.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let d = f16_at(block, 0);
        *out = array::map(&codes(block), |q| d * f32::from(q));
    }
}

/// Encodes a row; see [`crate::block::search`].
#[inline(always)]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::for_each_block(row, importance, out, |block| {
        let (d, codes) = search::byte_grid(block);
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&d.to_le_bytes());
        bytes[2..].copy_from_slice(&array::map(&codes, |q| q as u8));
        bytes
    });
}

/// `out[r] = w[r] . x`; a block adds `sum(q * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block, y| {
        let isum = dot(&codes(block), y.codes) as f32;
        isum.mul_add(f16_at(block, 0) * y.scale, s)
    });
}
