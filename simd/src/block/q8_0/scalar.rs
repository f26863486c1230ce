//! The definition of Q8_0.

use super::BYTES;
use crate::activation::Q8Window;
use crate::array;
use crate::block::grid::Grid;
use crate::block::search::{self, Scaled};
use crate::block::windows::{self, dot, f16_at};
use crate::wide::{LANES, Pairs, Portable, Wide, pairs};

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
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::scaled::<V, Q8_0, -127, 127, BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q8_0;

impl Scaled<BYTES> for Q8_0 {
    const EXTREME_CODES: &[f32] = &[127.0, 126.2, 125.4];

    // The grid is so fine that the rounding of the scale counts, which only the whole search looks at.
    const QUICK_CODES: &[i16] = &[];

    #[inline(always)]
    fn write<P: Pairs>(blocks: &mut [[u8; BYTES]; LANES], d: &[u16; LANES], codes: &[P; LANES]) {
        let isa = codes[0].proof();
        let (bias, mask) = (P::splat(isa, [-127; 2]), P::splat(isa, [255; 2]));
        let [first, second] = pairs::halves(&array::map_all(codes, |q| q.plus(bias).and(mask)));
        for (((block, d), first), second) in blocks.iter_mut().zip(d).zip(first).zip(second) {
            block[..2].copy_from_slice(&d.to_le_bytes());
            block[2..18].copy_from_slice(&first);
            block[18..].copy_from_slice(&second);
        }
    }
}

/// Codes beside other scales, from -127 on.
pub(crate) const GRID: Option<Grid> = Grid::centred((-127, 127), 32, &[0], |block, codes| {
    for (byte, code) in block[2..].iter_mut().zip(codes) {
        *byte = code.wrapping_sub(127);
    }
});

/// `out[r] = w[r] . x`; a block adds `sum(q * y) * (d * dy)`, fused.
#[inline(always)]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    windows::gemv(weights, x, out, |s, block, y| {
        let isum = dot(&codes(block), y.codes) as f32;
        isum.mul_add(f16_at(block, 0) * y.scale, s)
    });
}
