//! The definition of TQ2_0.

use super::{BLOCK_BYTES, qs};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::grid::Grid;
use crate::block::k::SUPER_LEN;
use crate::block::ternary::{self, search};
use crate::wide::{Portable, Wide};

/// The codes `q - 1`.
#[inline(always)]
fn codes(block: &[u8; BLOCK_BYTES]) -> [i8; SUPER_LEN] {
    let qs = qs(block);
    array::build(|i| (qs[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3).cast_signed() - 1)
}

/// Ternary models were trained to be: their codes are given.
pub(crate) const GRID: Option<Grid> = None;

/// Decodes `blocks` into `out`, 256 floats a block.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    ternary::decode(blocks, out, codes);
}

/// Encodes `row` (a multiple of 256 floats) into `out`, minimising the squared error, weighted by
/// `importance` (one weight per column) if given: see [`crate::block::ternary::search`].
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::for_each_block::<V, BLOCK_BYTES>(isa, row, importance, out, |block, d, codes| {
        let (qs, half) = block.split_at_mut(64);
        for (qs, codes) in qs.as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<128>().0) {
            for l in 0..32 {
                qs[l] = codes[l] | codes[32 + l] << 2 | codes[64 + l] << 4 | codes[96 + l] << 6;
            }
        }
        half.copy_from_slice(&d);
    });
}

/// Multiplies `out.len()` contiguous rows of `weights` with `x`; see [`crate::block::ternary::gemv`].
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    ternary::gemv(weights, x, out, codes);
}
