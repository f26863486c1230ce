//! The definition of Q4_0.

use super::{BYTES, qs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::search::{self, Scaled};
use crate::block::windows::{self, dot, f16_at, nibbles, pack_nibbles};
use crate::wide::{LANES, Pairs, Portable, Wide, pairs};

/// The codes `q - 8`.
#[inline(always)]
fn codes(block: &[u8; BYTES]) -> [i8; 32] {
    array::map(&nibbles(qs(block)), |q| q as i8 - 8)
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
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::scaled::<V, Q4_0, -8, 7, BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q4_0;

impl Scaled<BYTES> for Q4_0 {
    const EXTREME_CODES: &[f32] =
        &[-8.0, -7.6, -8.3, -8.6, -8.9, -9.2, -9.6, -10.0, -7.2, 7.0, 7.4, 7.8, 8.2, 6.7];

    const QUICK_CODES: &[i16] = &[-16, -17];

    #[inline(always)]
    fn write<P: Pairs>(blocks: &mut [[u8; BYTES]; LANES], d: &[u16; LANES], codes: &[P; LANES]) {
        for ((block, d), qs) in blocks.iter_mut().zip(d).zip(pairs::nibbles(codes)) {
            block[..2].copy_from_slice(&d.to_le_bytes());
            block[2..].copy_from_slice(&qs);
        }
    }
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::centred((-8, 7), 32, &[0], |block, codes| {
    pack_nibbles(codes.as_array().expect("32 codes"), &mut block[2..]);
});

/// `out[r] = w[r] . x`; a block adds `sum(q * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block, y| {
        let isum = dot(&codes(block), y.codes) as f32;
        isum.mul_add(f16_at(block, 0) * y.scale, s)
    });
}
