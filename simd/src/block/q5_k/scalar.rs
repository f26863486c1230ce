//! The definition of Q5_K: decode, encode and matrix-vector product.

use crate::activation::Q8KWindow;
use crate::block::grid::Grid;
use crate::block::k::affine::{self, Layout, SuperBlock};
use crate::block::k::{SUPER_LEN, scales, value_of};
use crate::block::q5_k::{BLOCK_BYTES, Block};
use crate::wide::{Portable, Wide};

/// Decodes `blocks` into `out`, 256 floats a block.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks::<BLOCK_BYTES>().0.iter().zip(out.as_chunks_mut::<SUPER_LEN>().0) {
        let block = Block(block);
        let (d, dmin) = (value_of(block.d()), value_of(block.dmin()));
        let (scales, minima) = scales::unpack(block.scales());
        for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let qs = &block.qs()[32 * (j / 2)..][..32];
            let scale = d * f32::from(scales[j]);
            let min = dmin * f32::from(minima[j]);
            for l in 0..32 {
                out[l] = scale * f32::from(code(qs[l], block.qh()[l], j)) - min;
            }
        }
    }
}

/// The code of a weight of sub-block `j`, from its byte of `qs` and of `qh`.
#[inline(always)]
fn code(qs: u8, qh: u8, j: usize) -> u8 {
    (qs >> (4 * (j % 2))) & 15 | ((qh >> j) & 1) << 4
}

/// Encodes `row` (a multiple of 256 floats) into `out`, minimising the squared error, weighted by
/// `importance` (one weight per column) if given: see [`crate::block::k::affine`].
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    affine::encode::<V, Q5_K, 32, 31, 63, BLOCK_BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q5_K;

impl Layout<BLOCK_BYTES> for Q5_K {
    #[inline(always)]
    fn write(block: &mut [u8; BLOCK_BYTES], found: &SuperBlock<'_>) {
        let SuperBlock { scales, minima, codes, .. } = *found;
        block[0..2].copy_from_slice(&found.d);
        block[2..4].copy_from_slice(&found.dmin);
        block[4..16].copy_from_slice(&scales::pack(scales, minima));
        set_codes(block, codes);
    }
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::minimum(31, 32, &[0, 2], set_codes);

/// Puts codes into a block.
#[inline(always)]
fn set_codes(block: &mut [u8], codes: &[u8]) {
    let (qh, qs) = block[16..].split_at_mut(32);
    qh.fill(0);
    let parts = qs.as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<64>().0);
    for (c, (qs, codes)) in parts.enumerate() {
        for l in 0..32 {
            let (low, high) = (codes[l], codes[32 + l]);
            qs[l] = low & 15 | (high & 15) << 4;
            qh[l] |= ((low >> 4) | (high >> 4) << 1) << (2 * c);
        }
    }
}

/// Multiplies `out.len()` contiguous rows of `weights` with `x`.
///
/// A super-block's term is `fma(-msum, dmin * dy, isum * (d * dy))`, where `isum` sums scale x code x
/// activation code and `msum` sums minimum x activation code sum, both exactly: `isum` is at most
/// 8 * 63 * 32 * 31 * 127 < 2^26, `msum` at most 16 * 63 * 2032 < 2^21.
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
    let (scales, minima) = scales::unpack(block.scales());
    let (mut isum, mut msum) = (0, 0);
    for j in 0..8 {
        let qs = &block.qs()[32 * (j / 2)..][..32];
        let y = &window.codes[32 * j..][..32];
        let dot: i32 = (0..32).map(|l| i32::from(code(qs[l], block.qh()[l], j)) * i32::from(y[l])).sum();
        isum += i32::from(scales[j]) * dot;
        msum += i32::from(minima[j]) * (i32::from(window.sums[2 * j]) + i32::from(window.sums[2 * j + 1]));
    }
    let (d, dmin) = (value_of(block.d()), value_of(block.dmin()));
    (-(msum as f32)).mul_add(dmin * window.scale, isum as f32 * (d * window.scale))
}
