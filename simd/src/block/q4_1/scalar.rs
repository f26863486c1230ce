//! The definition of Q4_1.

use super::{BYTES, qs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::search::{self, Offset};
use crate::block::windows::{self, dot, f16_at, nibbles, pack_nibbles};
use crate::wide::{Portable, Wide};

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
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::offset::<V, Q4_1, 15, BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q4_1;

impl Offset<BYTES> for Q4_1 {
    #[inline(always)]
    fn write(block: &mut [u8; BYTES], d: u16, m: u16, codes: &[u8; 32]) {
        block[..2].copy_from_slice(&d.to_le_bytes());
        block[2..4].copy_from_slice(&m.to_le_bytes());
        pack_nibbles(codes, &mut block[4..]);
    }
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::offset(15, 32, &[0, 2], |block, codes| {
    pack_nibbles(codes.as_array().expect("32 codes"), &mut block[4..]);
});

/// `out[r] = w[r] . x`; a block adds `fma(sum(q * y), d * dy, m * (sum(y) * dy))`.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block, y| {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        let isum = dot(&codes(block), y.codes) as f32;
        s + isum.mul_add(d * y.scale, m * (y.sum as f32 * y.scale))
    });
}
