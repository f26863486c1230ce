//! The definition of the codebook types.

use super::{Codebook, Entry, Marks, entry};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::k::{SUPER_LEN, value_of};

/// The codes of weights `64 c ..`.
#[inline(always)]
fn codes<const B: usize, C: Codebook<B>>(block: &[u8; B], c: usize) -> [i8; 64] {
    let (marks, len) = (C::marks(block)[c], 64 / C::Entry::IN_64);
    array::build(|i| {
        let entry = entry::<B, C>(C::index(block, C::Entry::IN_64 * c + i / len));
        let (entry, is_marked) = (entry.byte(i % len).cast_signed(), marks >> i & 1 == 1);
        match C::MARKS {
            Marks::Negate if is_marked => -entry,
            Marks::Negate => entry,
            Marks::Raise if is_marked => entry + 2 - 9,
            Marks::Raise => entry - 9,
        }
    })
}

/// Decodes `blocks` into `out`, 256 floats a block.
#[inline(always)]
pub(crate) fn decode<const B: usize, C: Codebook<B>>(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in blocks.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<SUPER_LEN>().0) {
        let (d, scales) = (value_of(C::d(block)) * C::UNIT, C::scales(block));
        for (c, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let codes = codes::<B, C>(block, c);
            for (i, out) in out.iter_mut().enumerate() {
                *out = d * f32::from(i16::from(scales[4 * c + i / 16]) * i16::from(codes[i]));
            }
        }
    }
}

/// Multiplies `out.len()` contiguous rows of `weights` with `x`.
///
/// A super-block's term is `fma(isum, d * (dy * UNIT), +0)`, where `isum` sums scale x code x activation code
/// exactly: it is at most 256 * 31 * 62 * 127 < 2^26.
#[inline(always)]
pub(crate) fn gemv<const B: usize, C: Codebook<B>>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let mut blocks = weights.as_chunks::<B>().0.iter();
    for out in out {
        let mut acc = 0.0;
        for (block, window) in blocks.by_ref().take(x.len()).zip(x) {
            acc += term::<B, C>(block, window);
        }
        *out = acc;
    }
}

/// The float term of one super-block.
#[inline(always)]
fn term<const B: usize, C: Codebook<B>>(block: &[u8; B], window: &Q8KWindow) -> f32 {
    let scales = C::scales(block);
    let mut isum = 0;
    for (c, ys) in window.codes.as_chunks::<64>().0.iter().enumerate() {
        let codes = codes::<B, C>(block, c);
        for (k, (codes, ys)) in codes.chunks_exact(16).zip(ys.chunks_exact(16)).enumerate() {
            let products = codes.iter().zip(ys).map(|(&q, &y)| i32::from(q) * i32::from(y));
            isum += i32::from(scales[4 * c + k]) * products.sum::<i32>();
        }
    }
    (isum as f32).mul_add(value_of(C::d(block)) * (window.scale * C::UNIT), 0.0)
}
