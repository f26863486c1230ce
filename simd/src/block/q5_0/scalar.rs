//! The definition of Q5_0.

use super::{BYTES, qh, qs};
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::search::{self, Scaled};
use crate::block::windows::{self, dot, f16_at, fifth_bits, five_bits, pack_nibbles};
use crate::wide::{LANES, Pairs, Portable, Wide, pairs};

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
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::scaled::<V, Q5_0, -16, 15, BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q5_0;

impl Scaled<BYTES> for Q5_0 {
    const EXTREME_CODES: &[f32] =
        &[-16.0, -15.3, -16.7, -17.4, -18.1, -18.8, -14.6, 15.0, 15.7, 16.4, 17.1, 14.3];

    const QUICK_CODES: &[i16] = &[-32, -33, 31, 30];

    #[inline(always)]
    fn write<P: Pairs>(blocks: &mut [[u8; BYTES]; LANES], d: &[u16; LANES], codes: &[P; LANES]) {
        let isa = codes[0].proof();
        let (high, mask) = (pairs::fifth_bits(codes), P::splat(isa, [15; 2]));
        let low = pairs::nibbles(&array::map_all(codes, |q| q.and(mask)));
        for (((block, d), qh), qs) in blocks.iter_mut().zip(d).zip(high).zip(low) {
            block[..2].copy_from_slice(&d.to_le_bytes());
            block[2..6].copy_from_slice(&qh.to_le_bytes());
            block[6..].copy_from_slice(&qs);
        }
    }
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::centred((-16, 15), 32, &[0], |block, codes| {
    let codes = codes.as_array().expect("32 codes");
    block[2..6].copy_from_slice(&fifth_bits(codes));
    pack_nibbles(codes, &mut block[6..]);
});

/// `out[r] = w[r] . x`; a block adds `sum(q * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block, y| {
        let isum = dot(&codes(block), y.codes) as f32;
        isum.mul_add(f16_at(block, 0) * y.scale, s)
    });
}
