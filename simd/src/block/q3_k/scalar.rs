//! The definition of Q3_K: decode, encode and matrix-vector product.

use crate::activation::Q8KWindow;
use crate::array;
use crate::block::grid::Grid;
use crate::block::k::symmetric::{self, Layout, SuperBlock};
use crate::block::k::{SUPER_LEN, value_of};
use crate::block::q3_k::{BLOCK_BYTES, Block, scales};
use crate::wide::{Portable, Wide};

/// Decodes `blocks` into `out`, 256 floats a block.
#[inline(always)]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks::<BLOCK_BYTES>().0.iter().zip(out.as_chunks_mut::<SUPER_LEN>().0) {
        let block = Block(block);
        let d = value_of(block.d());
        let scales = scales::unpack(block.scales());
        for (j, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(scales[j].cast_signed() - 32);
            for (code, out) in codes(block, j).into_iter().zip(out) {
                *out = scale * f32::from(code);
            }
        }
    }
}

/// The codes of sub-block `j`, each less 4.
#[inline(always)]
fn codes(block: Block<'_>, j: usize) -> [i8; 16] {
    let (half, part) = (j / 8, j % 8);
    let qs = &block.qs()[32 * half + 16 * (part % 2)..][..16];
    let hmask = &block.hmask()[16 * (part % 2)..][..16];
    let mut codes = [0; 16];
    for l in 0..16 {
        let low = (qs[l] >> (2 * (part / 2))) & 3;
        let high = (hmask[l] >> (4 * half + part / 2)) & 1;
        codes[l] = (low | high << 2).cast_signed() - 4;
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
    symmetric::encode::<V, Q3_K, -4, 3, -32, 31, BLOCK_BYTES>(isa, row, importance, out);
}

/// The layout of a block.
#[allow(non_camel_case_types, reason = "the field's own name")]
struct Q3_K;

impl Layout<BLOCK_BYTES> for Q3_K {
    #[inline(always)]
    fn write(block: &mut [u8; BLOCK_BYTES], found: &SuperBlock) {
        set_codes(block, &found.codes);
        block[96..108]
            .copy_from_slice(&scales::pack(&array::map(&found.scales, |scale| (scale + 32).cast_unsigned())));
        block[108..].copy_from_slice(&found.d);
    }
}

/// Codes beside other scales.
pub(crate) const GRID: Option<Grid> = Grid::centred((-4, 3), 16, &[108], set_codes);

/// Puts codes into a block.
#[inline(always)]
fn set_codes(block: &mut [u8], codes: &[u8]) {
    let (hmask, rest) = block.split_at_mut(32);
    let qs = &mut rest[..64];
    hmask.fill(0);
    for (half, codes) in codes.as_chunks::<128>().0.iter().enumerate() {
        for l in 0..32 {
            let code = |part: usize| codes[32 * part + l];
            let low = |part: usize| (code(part) & 3) << (2 * part);
            let high = |part: usize| (code(part) >> 2) << (4 * half + part);
            qs[32 * half + l] = low(0) | low(1) | low(2) | low(3);
            hmask[l] |= high(0) | high(1) | high(2) | high(3);
        }
    }
}

/// Multiplies `out.len()` contiguous rows of `weights` with `x`.
///
/// A super-block's term is `fma(isum, d * dy, +0)`, where `isum` sums scale x code x activation code
/// exactly: it is at most 256 * 32 * 4 * 127 < 2^23.
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
    let scales = scales::unpack(block.scales());
    let mut isum = 0;
    for (j, y) in window.codes.as_chunks::<16>().0.iter().enumerate() {
        let dot: i32 = codes(block, j).iter().zip(y).map(|(&q, &y)| i32::from(q) * i32::from(y)).sum();
        isum += (i32::from(scales[j]) - 32) * dot;
    }
    (isum as f32).mul_add(value_of(block.d()) * window.scale, 0.0)
}
