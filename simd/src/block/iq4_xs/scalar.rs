//! The definition of IQ4_XS: decode, encode and matrix-vector product.

use super::{BLOCK_BYTES, Block, scales, search};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::grid::Grid;
use crate::block::k::{SUPER_LEN, value_of};
use crate::block::tables::IQ4;
use crate::block::windows::{dot, nibbles, pack_nibbles};
use crate::wide::{Portable, Wide};

/// The scales, each less 32.
#[inline(always)]
fn scales_of(block: Block<'_>) -> [i8; 8] {
    array::map(&scales::unpack(block.scales()), |scale| scale.cast_signed() - 32)
}

/// What the codes of sub-block `j` stand for.
#[inline(always)]
fn codes(block: Block<'_>, j: usize) -> [i8; 32] {
    array::map(&nibbles(&block.qs().as_chunks().0[j]), |q| IQ4[usize::from(q & 15)])
}

/// Decodes `blocks` into `out`, 256 floats a block.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks::<BLOCK_BYTES>().0.iter().zip(out.as_chunks_mut::<SUPER_LEN>().0) {
        let block = Block(block);
        let (d, scales) = (value_of(block.d()), scales_of(block));
        for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scale = d * f32::from(scales[j]);
            *out = array::map(&codes(block, j), |q| scale * f32::from(q));
        }
    }
}

/// Encodes `row` (a multiple of 256 floats) into `out`, minimising the squared error, weighted by
/// `importance` (one weight per column) if given; see the module `search` beside this one.
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<V>(isa, row, importance, out);
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::iq4(|block, codes| {
    for (qs, codes) in block[8..].as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<32>().0) {
        pack_nibbles(codes, qs);
    }
});

/// Multiplies `out.len()` contiguous rows of `weights` with `x`.
///
/// A super-block's term is `fma(isum, d * dy, +0)`, where `isum` sums scale x table value x activation
/// code exactly: it is at most 8 * 32 * 32 * 127 * 127 < 2^27.
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let mut blocks = weights.as_chunks::<BLOCK_BYTES>().0.iter();
    for out in out {
        let mut acc = 0.0;
        for (block, window) in blocks.by_ref().take(x.len()).zip(x) {
            acc += term(Block(block), window);
        }
        *out = acc;
    }
}

/// The float term of one super-block.
fn term(block: Block<'_>, window: &Q8KWindow) -> f32 {
    let scales = scales_of(block);
    let mut isum = 0;
    for (j, y) in window.codes.as_chunks::<32>().0.iter().enumerate() {
        isum += i32::from(scales[j]) * dot(&codes(block, j), y);
    }
    (isum as f32).mul_add(value_of(block.d()) * window.scale, 0.0)
}
