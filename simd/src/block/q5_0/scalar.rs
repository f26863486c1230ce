//! The definition of Q5_0.

use super::{BYTES, qh, qs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::search;
use crate::block::windows::{self, dot, f16_at, fifth_bits, five_bits, pack_nibbles};

/// The codes `q - 16`.
#[inline(always)]
fn codes(block: &[u8; BYTES]) -> [i8; 32] {
    array::map(&five_bits(qh(block), qs(block)), |q| q as i8 - 16)
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
        let (d, codes) = search::signed_grid::<16>(block);
        let codes = array::map(&codes, |q| (q + 16) as u8);
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&d.to_le_bytes());
        bytes[2..6].copy_from_slice(&fifth_bits(&codes));
        pack_nibbles(&codes, &mut bytes[6..]);
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
