//! Rows of Q8_0: blocks of 32 elements, each an f16 scale and 32 codes of 8 bits.
//!
//! Stored as `d = f16(amax / 127)` and `code = round(x / d)`, ties to even, within -127..=127: the
//! codes make up for what rounding the scale lost. Accuracy: half a step, `amax / 254`, and where the
//! scale was rounded down, `amax / 2048` for the greatest elements. Magnitudes that need a greater
//! scale than the greatest f16 (from 8.3e6) become that scale's greatest; those below 3.8e-6 become
//! zeros.

use super::sums::Unit;
use super::vectors::Vectors;
use crate::half_float::{f16_to_f32, f32_to_f16};
use crate::ops::lanes::LANES;

/// Elements of a block.
pub(super) const LEN: usize = 32;

/// Bytes of a block.
const BYTES: usize = 34;

/// Stores floats.
#[inline(always)]
pub(super) fn store(x: &[f32], out: &mut [u8]) {
    let (blocks, _) = x.as_chunks::<LEN>();
    let (outs, _) = out.as_chunks_mut::<BYTES>();
    let outs = &mut outs[..blocks.len()];
    for i in 0..blocks.len() {
        let (magnitude, _) = extremes(&blocks[i]);
        let scale = scale(magnitude / 127.0, magnitude);
        let codes = codes(&blocks[i], scale, -127.0, 127.0);
        let [low, high] = scale.to_le_bytes();
        outs[i][0] = low;
        outs[i][1] = high;
        for l in 0..LEN {
            outs[i][2 + l] = codes[l] as u8;
        }
    }
}

/// The greatest magnitude of a block, infinite or NaN if an element is, and the greatest element (or some
/// negative one if all are negative), by the order of their bits.
#[inline(always)]
pub(super) fn extremes(block: &[f32; LEN]) -> (f32, f32) {
    let (mut magnitude, mut top) = (0, i32::MIN);
    for l in 0..LEN {
        let bits = block[l].to_bits().cast_signed();
        magnitude = magnitude.max(bits & i32::MAX);
        top = top.max(bits);
    }
    (f32::from_bits(magnitude as u32), f32::from_bits(top as u32))
}

/// The nearest scale there is; NaN for a block that is not finite.
#[inline(always)]
pub(super) fn scale(exact: f32, magnitude: f32) -> u16 {
    const GREATEST: f32 = 65504.0;
    let within = if exact > GREATEST { GREATEST } else { exact };
    let within = if within < -GREATEST { -GREATEST } else { within };
    f32_to_f16(if magnitude < f32::INFINITY { within } else { f32::NAN })
}

/// The elements divided by the scale, to nearest even within `low..=high`; zeros if the scale is zero
/// or NaN.
#[inline(always)]
pub(super) fn codes(block: &[f32; LEN], scale: u16, low: f32, high: f32) -> [i8; LEN] {
    // Adding it leaves the nearest integer, ties to even, in the last bits.
    const SHIFT: f32 = 12_582_912.0;
    let d = f16_to_f32(scale);
    let inverse = if d != 0.0 { 1.0 / d } else { 0.0 };
    let mut codes = [0; LEN];
    for l in 0..LEN {
        let value = block[l] * inverse;
        let value = if value > low { value } else { low };
        let value = if value < high { value } else { high };
        codes[l] = (value + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i8;
    }
    if d.is_nan() { [0; LEN] } else { codes }
}

/// Q8_0 in weighted sums: a block.
pub(super) struct Q8_0;

impl Unit<2, BYTES> for Q8_0 {
    #[inline(always)]
    fn scale<T: Vectors>(isa: T, unit: &[u8; BYTES]) -> f32 {
        isa.half(u16::from_le_bytes([unit[0], unit[1]]))
    }

    #[inline(always)]
    fn codes<T: Vectors>(isa: T, unit: &[u8; BYTES]) -> [T::Vector; 2] {
        let mut codes = [[0; LANES]; 2];
        for half in 0..2 {
            for l in 0..LANES {
                codes[half][l] = unit[2 + LANES * half + l] as i8;
            }
        }
        [isa.integers(&codes[0]), isa.integers(&codes[1])]
    }
}
