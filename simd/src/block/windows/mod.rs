//! Dot products of the 32-weight types: what their scalar definitions share.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

use crate::activation::Q8Window;
use crate::array;

/// The activations that meet one block of 32 weights.
pub(crate) struct BlockActivation<'a> {
    /// The codes; value = `scale * codes[i]`.
    pub(crate) codes: &'a [i8; 32],
    /// The scale.
    pub(crate) scale: f32,
    /// The sum of the codes.
    pub(crate) sum: i32,
}

/// `out[r] = w[r] . x` for blocks of `B` bytes, in the canonical order of [`crate::block`];
/// `add_term(s, block, activation)` adds the term of a block to the sum of its window.
#[inline(always)]
pub(crate) fn gemv<const B: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    add_term: impl Fn(f32, &[u8; B], BlockActivation<'_>) -> f32,
) {
    gemv_in_parts::<B, 1>(weights, x, out, |s, block, _, y| add_term(s, block, y));
}

/// [`gemv`] for blocks of `PARTS` times 32 weights; `add_term` is told the part that meets the activation.
#[inline(always)]
pub(crate) fn gemv_in_parts<const B: usize, const PARTS: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    add_term: impl Fn(f32, &[u8; B], usize, BlockActivation<'_>) -> f32,
) {
    for (row, out) in weights.chunks_exact(weights.len() / out.len()).zip(out) {
        let mut acc = 0.0;
        for (blocks, y) in row.as_chunks::<B>().0.chunks(8 / PARTS).zip(x) {
            let mut s = 0.0;
            for (k, block) in blocks.iter().flat_map(|block| [block; PARTS]).enumerate() {
                let codes = &y.codes.as_chunks().0[k];
                let activation = BlockActivation { codes, scale: y.scales[k], sum: y.sums[k] };
                s = add_term(s, block, k % PARTS, activation);
            }
            acc += s;
        }
        *out = acc;
    }
}

/// The sum of the products of two rows of codes; at most `32 * 128 * 127` in magnitude.
#[inline(always)]
pub(crate) fn dot(w: &[i8; 32], y: &[i8; 32]) -> i32 {
    w.iter().zip(y).map(|(&w, &y)| i32::from(w) * i32::from(y)).sum()
}

/// The f16 at byte `at` of a block.
#[inline(always)]
pub(crate) fn f16_at(block: &[u8], at: usize) -> f32 {
    crate::half_float::f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// The 32 nibbles of 16 bytes: the low ones first, then the high ones.
#[inline(always)]
pub(crate) fn nibbles(qs: &[u8; 16]) -> [u8; 32] {
    array::build(|i| if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 })
}

/// 32 codes of 5 bits: nibbles with bit `i` of `qh` as the fifth bit of code `i`.
#[inline(always)]
pub(crate) fn five_bits(qh: &[u8; 4], qs: &[u8; 16]) -> [u8; 32] {
    let qh = u32::from_le_bytes(*qh);
    let low = nibbles(qs);
    array::build(|i| low[i] | ((qh >> i & 1) << 4) as u8)
}

/// The inverse of [`nibbles`] for the low four bits of the codes.
#[inline(always)]
pub(crate) fn pack_nibbles(codes: &[u8; 32], qs: &mut [u8]) {
    for (i, byte) in qs.iter_mut().enumerate() {
        *byte = codes[i] & 15 | codes[i + 16] << 4;
    }
}

/// The fifth bit of each code, as [`five_bits`] reads them.
#[inline(always)]
pub(crate) fn fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    let bits = codes.iter().enumerate().fold(0u32, |bits, (i, &q)| bits | u32::from(q >> 4 & 1) << i);
    bits.to_le_bytes()
}

/// The blocks of a window that is not full, filled up with zero blocks. Their scales and minima are
/// +0 and they meet zero activations, so their terms are +0 and change no sum.
#[inline(always)]
pub(crate) fn padded<const B: usize, const NB: usize>(blocks: &[[u8; B]]) -> [[u8; B]; NB] {
    let mut window = [[0; B]; NB];
    window[..blocks.len()].copy_from_slice(blocks);
    window
}
