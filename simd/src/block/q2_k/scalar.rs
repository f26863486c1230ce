//! The definition of Q2_K: decode, encode and matrix-vector product.

use crate::activation::Q8KWindow;
use crate::block::grid::Grid;
use crate::block::k::affine::{self, Layout, SuperBlock};
use crate::block::k::{SUPER_LEN, value_of};
use crate::block::q2_k::{BLOCK_BYTES, Block, HALVES};
use crate::wide::{Portable, Wide};

/// Decodes `blocks` into `out`, 256 floats a block.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks::<BLOCK_BYTES>().0.iter().zip(out.as_chunks_mut::<SUPER_LEN>().0) {
        let block = Block(block);
        let (d, dmin) = (value_of(block.d()), value_of(block.dmin()));
        for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (scale, minimum) = (block.scales()[j] & 15, block.scales()[j] >> 4);
            let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
            for (code, out) in codes(block, j).into_iter().zip(out) {
                *out = scale * f32::from(code) - minimum;
            }
        }
    }
}

/// The codes of sub-block `j`.
#[inline(always)]
fn codes(block: Block<'_>, j: usize) -> [u8; 16] {
    let (half, part) = (j / 8, j % 8);
    let qs = &block.qs()[32 * half + 16 * (part % 2)..][..16];
    let mut codes = [0; 16];
    for l in 0..16 {
        codes[l] = (qs[l] >> (2 * (part / 2))) & 3;
    }
    codes
}

/// Encodes `row` (a multiple of 256 floats) into `out`, minimising the squared error, weighted by
/// `importance` (one weight per column) if given: see [`crate::block::k::affine`].
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    affine::encode::<V, Q2_K, 16, 3, 15, BLOCK_BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q2_K;

impl Layout<BLOCK_BYTES> for Q2_K {
    #[inline(always)]
    fn write(block: &mut [u8; BLOCK_BYTES], found: &SuperBlock<'_>) {
        for (byte, (scale, minimum)) in block.iter_mut().zip(found.scales.iter().zip(found.minima)) {
            *byte = scale | minimum << 4;
        }
        set_codes(block, found.codes);
        block[HALVES..HALVES + 2].copy_from_slice(&found.d);
        block[HALVES + 2..].copy_from_slice(&found.dmin);
    }
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::minimum(3, 16, &[HALVES, HALVES + 2], set_codes);

/// Puts codes into a block.
#[inline(always)]
fn set_codes(block: &mut [u8], codes: &[u8]) {
    let halves = block[16..HALVES].as_chunks_mut::<32>().0.iter_mut();
    for (qs, codes) in halves.zip(codes.as_chunks::<128>().0) {
        for l in 0..32 {
            qs[l] = codes[l] | codes[32 + l] << 2 | codes[64 + l] << 4 | codes[96 + l] << 6;
        }
    }
}

/// Multiplies `out.len()` contiguous rows of `weights` with `x`.
///
/// A super-block's term is `fma(-msum, dmin * dy, isum * (d * dy))`, where `isum` sums scale x code x
/// activation code and `msum` sums minimum x activation code sum, both exactly: `isum` is at most
/// 256 * 15 * 3 * 127 < 2^21, `msum` at most 16 * 15 * 2032 < 2^19.
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
    let (mut isum, mut msum) = (0, 0);
    for (j, y) in window.codes.as_chunks::<16>().0.iter().enumerate() {
        let dot: i32 = codes(block, j).iter().zip(y).map(|(&q, &y)| i32::from(q) * i32::from(y)).sum();
        isum += i32::from(block.scales()[j] & 15) * dot;
        msum += i32::from(block.scales()[j] >> 4) * i32::from(window.sums[j]);
    }
    let (d, dmin) = (value_of(block.d()), value_of(block.dmin()));
    (-(msum as f32)).mul_add(dmin * window.scale, isum as f32 * (d * window.scale))
}
