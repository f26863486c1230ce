//! The definition of Q2_0.

use super::{BYTES, LEN, qs, search};
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::windows::{self, dot, f16_at};
use crate::wide::{Portable, Wide};

/// The codes of weights `32 part ..`, less 1.
#[inline(always)]
fn codes(block: &[u8; BYTES], part: usize) -> [i8; 32] {
    let qs = qs(block);
    array::build(|i| (qs[8 * part + i / 4] >> (2 * (i % 4)) & 3).cast_signed() - 1)
}

/// Decodes `blocks` into 64 floats each.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
        let d = f16_at(block, 0);
        for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            *out = array::map(&codes(block, part), |q| d * f32::from(q));
        }
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
pub(crate) const GRID: Option<Grid> = Grid::centred((-1, 2), 64, &[0], |block, codes| {
    for (byte, codes) in block[2..].iter_mut().zip(codes.as_chunks::<4>().0) {
        *byte = codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6;
    }
});

/// `out[r] = w[r] . x`; 32 weights add `sum((q - 1) * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv_in_parts::<BYTES, 2>(weights, x, out, |s, block, part, y| {
        let isum = dot(&codes(block, part), y.codes) as f32;
        isum.mul_add(f16_at(block, 0) * y.scale, s)
    });
}
