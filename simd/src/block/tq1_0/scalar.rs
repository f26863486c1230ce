//! The definition of TQ1_0.

use super::{BLOCK_BYTES, place};
use crate::activation::Q8KWindow;
use crate::block::grid::Grid;
use crate::block::k::SUPER_LEN;
use crate::block::ternary::{self, search};
use crate::wide::{Portable, Wide};

/// The codes `q - 1`.
#[inline(always)]
fn codes(block: &[u8; BLOCK_BYTES]) -> [i8; SUPER_LEN] {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let mut codes = [0; SUPER_LEN];
    for (i, code) in codes.iter_mut().enumerate() {
        let (byte, n) = place(i);
        let fraction = block[byte].wrapping_mul(POWERS[n]);
        *code = ((u16::from(fraction) * 3) >> 8) as i8 - 1;
    }
    codes
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
        let mut trits = [0u16; 52];
        for l in 0..32 {
            trits[l] = number([codes[l], codes[32 + l], codes[64 + l], codes[96 + l], codes[128 + l]]);
        }
        for l in 0..16 {
            let c = &codes[160 + l..];
            trits[32 + l] = number([c[0], c[16], c[32], c[48], c[64]]);
        }
        for l in 0..4 {
            let c = &codes[240 + l..];
            trits[48 + l] = number([c[0], c[4], c[8], c[12], 0]);
        }
        // The smallest fraction of 256 from which all five trits come out.
        for (byte, number) in block.iter_mut().zip(trits) {
            *byte = (u32::from(number) * 256).div_ceil(243) as u8;
        }
        block[52..].copy_from_slice(&d);
    });
}

/// The number with these digits in base 3.
#[inline(always)]
fn number(digits: [u8; 5]) -> u16 {
    let [a, b, c, d, e] = digits.map(u16::from);
    (((a * 3 + b) * 3 + c) * 3 + d) * 3 + e
}

/// Multiplies `out.len()` contiguous rows of `weights` with `x`; see [`crate::block::ternary::gemv`].
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    ternary::gemv(weights, x, out, codes);
}
