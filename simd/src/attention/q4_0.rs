//! Rows of Q4_0: blocks of 32 elements, each an f16 scale and 32 codes of 4 bits less 8.
//!
//! Stored as `d = f16(extreme / -8)`, where `extreme` is the element of greatest magnitude (the
//! positive one if both signs reach it), and `code = round(x / d)`, ties to even, within -8..=7.
//! Accuracy: half a step, `amax / 16`, and a whole one for elements near the extreme's opposite, which
//! has no code.

use super::q8_0::{LEN, codes, extremes, scale};
use super::sums::Unit;
use super::vectors::Vectors;
use crate::ops::lanes::LANES;

/// Bytes of a block.
const BYTES: usize = 18;

/// Stores floats.
#[inline(always)]
pub(super) fn store(x: &[f32], out: &mut [u8]) {
    let (blocks, _) = x.as_chunks::<LEN>();
    let (outs, _) = out.as_chunks_mut::<BYTES>();
    let outs = &mut outs[..blocks.len()];
    for i in 0..blocks.len() {
        let (magnitude, top) = extremes(&blocks[i]);
        let extreme = if top == magnitude { magnitude } else { -magnitude };
        let scale = scale(extreme * -0.125, magnitude);
        let codes = codes(&blocks[i], scale, -8.0, 7.0);
        let [low, high] = scale.to_le_bytes();
        outs[i][0] = low;
        outs[i][1] = high;
        for l in 0..LANES {
            outs[i][2 + l] = (codes[l] + 8) as u8 | ((codes[LANES + l] + 8) as u8) << 4;
        }
    }
}

/// Q4_0 in weighted sums: a block.
pub(super) struct Q4_0;

impl Unit<2, BYTES> for Q4_0 {
    #[inline(always)]
    fn scale<T: Vectors>(isa: T, unit: &[u8; BYTES]) -> f32 {
        isa.half(u16::from_le_bytes([unit[0], unit[1]]))
    }

    #[inline(always)]
    fn codes<T: Vectors>(isa: T, unit: &[u8; BYTES]) -> [T::Vector; 2] {
        let (mut low, mut high) = ([0; LANES], [0; LANES]);
        for l in 0..LANES {
            low[l] = (unit[2 + l] & 15) as i8 - 8;
        }
        for l in 0..LANES {
            high[l] = (unit[2 + l] >> 4) as i8 - 8;
        }
        [isa.integers(&low), isa.integers(&high)]
    }
}
