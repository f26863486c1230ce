//! The definition of MXFP4.

use super::{BYTES, qs, scale, search};
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::tables::FP4;
use crate::block::windows::{self, dot, nibbles, pack_nibbles};
use crate::wide::{Portable, Wide};

/// What the codes stand for.
#[inline(always)]
fn codes(block: &[u8; BYTES]) -> [i8; 32] {
    array::map(&nibbles(qs(block)), |q| FP4[usize::from(q & 15)])
}

/// Decodes `blocks` into 32 floats each.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let d = scale(block[0]);
        *out = array::map(&codes(block), |q| d * f32::from(q));
    }
}

/// Encodes a row; see the module `search` beside this one.
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<V>(isa, row, importance, out);
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> =
    Grid::fp4(32, |block, codes| pack_nibbles(codes.as_array().expect("32 codes"), &mut block[1..]));

/// `out[r] = w[r] . x`; a block adds `sum(T[q] * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block: &[u8; BYTES], y| {
        let isum = dot(&codes(block), y.codes) as f32;
        isum.mul_add(scale(block[0]) * y.scale, s)
    });
}
