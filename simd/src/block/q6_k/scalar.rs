//! The definition of Q6_K: decode, encode and matrix-vector product.

use crate::activation::Q8KWindow;
use crate::block::grid::Grid;
use crate::block::k::symmetric::{self, Layout, SuperBlock};
use crate::block::k::{SUPER_LEN, value_of};
use crate::block::q6_k::{BLOCK_BYTES, Block};
use crate::wide::{Portable, Wide};

/// Decodes `blocks` into `out`, 256 floats a block.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks::<BLOCK_BYTES>().0.iter().zip(out.as_chunks_mut::<SUPER_LEN>().0) {
        let block = Block(block);
        let d = value_of(block.d());
        for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(block.scales()[j].cast_signed());
            for (code, out) in codes(block, j).into_iter().zip(out) {
                *out = scale * f32::from(code);
            }
        }
    }
}

/// The codes of sub-block `j`, each less 32.
#[inline(always)]
fn codes(block: Block<'_>, j: usize) -> [i8; 16] {
    let (half, part) = (j / 8, j % 8);
    let ql = &block.ql()[64 * half + 16 * (part % 4)..][..16];
    let qh = &block.qh()[32 * half + 16 * (part % 2)..][..16];
    let mut codes = [0; 16];
    for l in 0..16 {
        let low = (ql[l] >> (4 * (part / 4))) & 15;
        let high = (qh[l] >> (2 * (part / 2))) & 3;
        codes[l] = (low | high << 4).cast_signed() - 32;
    }
    codes
}

/// Encodes `row` (a multiple of 256 floats) into `out`, minimising the squared error, weighted by
/// `importance` (one weight per column) if given: see [`crate::block::k::symmetric`].
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    encode_with::<Portable>((), row, importance, out);
}

/// [`encode`] with the vectors of a tier.
#[inline(always)]
pub(crate) fn encode_with<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    symmetric::encode::<V, Q6_K, -32, 31, -128, 127, BLOCK_BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q6_K;

impl Layout<BLOCK_BYTES> for Q6_K {
    #[inline(always)]
    fn write(block: &mut [u8; BLOCK_BYTES], SuperBlock { d, scales, codes }: &SuperBlock) {
        set_codes(block, codes);
        block[192..208].copy_from_slice(&scales.map(i8::cast_unsigned));
        block[208..].copy_from_slice(d);
    }
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::centred((-32, 31), 16, &[208], set_codes);

/// Puts codes into a block.
#[inline(always)]
fn set_codes(block: &mut [u8], codes: &[u8]) {
    let (ql, rest) = block.split_at_mut(128);
    let qh = &mut rest[..64];
    for (half, codes) in codes.as_chunks::<128>().0.iter().enumerate() {
        for l in 0..64 {
            ql[64 * half + l] = codes[l] & 15 | (codes[64 + l] & 15) << 4;
        }
        for l in 0..32 {
            let high = |part: usize| (codes[32 * part + l] >> 4) << (2 * part);
            qh[32 * half + l] = high(0) | high(1) | high(2) | high(3);
        }
    }
}

/// Multiplies `out.len()` contiguous rows of `weights` with `x`.
///
/// A super-block's term is `fma(isum, d * dy, +0)`, where `isum` sums scale x code x activation code
/// exactly: it is at most 16 * 128 * 16 * 32 * 127 < 2^27.
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
    let mut isum = 0;
    for (j, y) in window.codes.as_chunks::<16>().0.iter().enumerate() {
        let dot: i32 = codes(block, j).iter().zip(y).map(|(&q, &y)| i32::from(q) * i32::from(y)).sum();
        isum += i32::from(block.scales()[j].cast_signed()) * dot;
    }
    (isum as f32).mul_add(value_of(block.d()) * window.scale, 0.0)
}
