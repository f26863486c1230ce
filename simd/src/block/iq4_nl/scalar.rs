//! The definition of IQ4_NL.

use super::{BYTES, qs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::table_search;
use crate::block::tables::IQ4;
use crate::block::windows::{self, dot, f16_at, nibbles, pack_nibbles};
use crate::wide::{Portable, Wide};

/// What the codes stand for.
#[inline(always)]
fn codes(block: &[u8; BYTES]) -> [i8; 32] {
    array::map(&nibbles(qs(block)), |q| IQ4[usize::from(q & 15)])
}

/// Decodes `blocks` into 32 floats each.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let d = f16_at(block, 0);
        *out = array::map(&codes(block), |q| d * f32::from(q));
    }
}

/// Encodes a row; see [`crate::block::table_search`].
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    table_search::for_each_block::<V, BYTES>(isa, row, importance, out, |block, d, codes| {
        block[..2].copy_from_slice(&d);
        pack_nibbles(codes, &mut block[2..]);
    });
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> =
    Grid::iq4(|block, codes| pack_nibbles(codes.as_array().expect("32 codes"), &mut block[2..]));

/// `out[r] = w[r] . x`; a block adds `sum(T[q] * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block, y| {
        let isum = dot(&codes(block), y.codes) as f32;
        isum.mul_add(f16_at(block, 0) * y.scale, s)
    });
}
