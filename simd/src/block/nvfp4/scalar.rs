//! The definition of NVFP4.

use super::{BYTES, LEN, qs, scale, search};
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::tables::FP4;
use crate::block::windows;
use crate::wide::{Portable, Wide};

/// What the codes of weights `32 part ..` stand for.
#[inline(always)]
fn codes(block: &[u8; BYTES], part: usize) -> [i8; 32] {
    let qs = qs(block, part);
    array::build(|i| FP4[usize::from(qs[i / 16 * 8 + i % 8] >> (i / 8 % 2 * 4) & 15)])
}

/// Decodes `blocks` into 64 floats each.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
        for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (codes, scales) = (codes(block, part), [scale(block[2 * part]), scale(block[2 * part + 1])]);
            *out = array::build(|i| scales[i / 16] * f32::from(codes[i]));
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
pub(crate) const GRID: Option<Grid> = Grid::fp4(16, |block, codes| {
    for (qs, codes) in block[4..].as_chunks_mut::<8>().0.iter_mut().zip(codes.as_chunks::<16>().0) {
        *qs = array::build(|j| codes[j] | codes[j + 8] << 4);
    }
});

/// `out[r] = w[r] . x`; sixteen weights add `sum(T[q] * y) * (d * dy)`, fused, the first of a part before the last.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv_in_parts::<BYTES, 2>(weights, x, out, |s, block, part, y| {
        let codes = codes(block, part);
        let sum = |half: usize| -> i32 {
            let (codes, ys) = (&codes[16 * half..][..16], &y.codes[16 * half..][..16]);
            codes.iter().zip(ys).map(|(&q, &y)| i32::from(q) * i32::from(y)).sum()
        };
        let s = (sum(0) as f32).mul_add(scale(block[2 * part]) * y.scale, s);
        (sum(1) as f32).mul_add(scale(block[2 * part + 1]) * y.scale, s)
    });
}
