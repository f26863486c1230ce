//! What the ternary types share: a super-block of 256 weights of -1, 0 or 1 times one scale.
//!
//! Codes are 0, 1 and 2. A byte of TQ2_0 can hold a 3, which no encoder writes and which means twice the
//! scale; the kernels keep to that.

pub(crate) mod search;

use crate::activation::Q8KWindow;
use crate::block::k::{SUPER_LEN, value_of};

/// Decodes blocks of `B` bytes that end with `d`; `codes` gives the codes of a block, each less 1.
#[inline(always)]
pub(crate) fn decode<const B: usize>(
    blocks: &[u8],
    out: &mut [f32],
    codes: impl Fn(&[u8; B]) -> [i8; SUPER_LEN],
) {
    for (block, out) in blocks.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<SUPER_LEN>().0) {
        let d = value_of([block[B - 2], block[B - 1]]);
        for (out, code) in out.iter_mut().zip(codes(block)) {
            *out = d * f32::from(code);
        }
    }
}

/// Multiplies `out.len()` contiguous rows of blocks that end with `d` with `x`; `codes` as in [`decode`].
///
/// A super-block's term is `fma(isum, d * dy, +0)`, where `isum` sums code x activation code exactly: it
/// is at most 256 * 2 * 127 < 2^16.
#[inline(always)]
pub(crate) fn gemv<const B: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    codes: impl Fn(&[u8; B]) -> [i8; SUPER_LEN],
) {
    let mut blocks = weights.as_chunks::<B>().0.iter();
    for out in out {
        let mut acc = 0.0;
        for (block, window) in blocks.by_ref().take(x.len()).zip(x) {
            let products =
                codes(block).into_iter().zip(window.codes).map(|(q, y)| i32::from(q) * i32::from(y));
            let (isum, d) = (products.sum::<i32>(), value_of([block[B - 2], block[B - 1]]));
            acc += (isum as f32).mul_add(d * window.scale, 0.0);
        }
        *out = acc;
    }
}
