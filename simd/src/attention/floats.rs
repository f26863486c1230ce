//! Rows of floats, in half or single precision: the bits of each element, least byte first.

use super::sums::Unit;
use super::vectors::Vectors;
use crate::ops::lanes::{self, LANES, LaneOps, Lanes};

/// A precision; `B` bytes hold sixteen elements.
pub(super) trait Floats<const B: usize> {
    /// Sixteen elements as floats.
    fn widen<T: LaneOps>(isa: T, bytes: &[u8; B]) -> Lanes;

    /// Sixteen floats as elements, to nearest even.
    fn narrow<T: LaneOps>(isa: T, x: &Lanes) -> [u8; B];
}

/// Half precision.
pub(super) struct F16;

/// Single precision.
pub(super) struct F32;

/// Stores floats.
#[inline(always)]
pub(super) fn store<T: LaneOps, F: Floats<B>, const B: usize>(isa: T, x: &[f32], out: &mut [u8]) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<B>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = F::narrow(isa, &groups[i]);
    }
    if !out_tail.is_empty() {
        let end = F::narrow(isa, &lanes::padded(tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}

impl Floats<{ 2 * LANES }> for F16 {
    #[inline(always)]
    fn widen<T: LaneOps>(isa: T, bytes: &[u8; 2 * LANES]) -> Lanes {
        let mut halves = [0; LANES];
        for l in 0..LANES {
            halves[l] = u16::from_le_bytes([bytes[2 * l], bytes[2 * l + 1]]);
        }
        isa.widen(&halves)
    }

    #[inline(always)]
    fn narrow<T: LaneOps>(isa: T, x: &Lanes) -> [u8; 2 * LANES] {
        let halves = isa.narrow(x);
        let mut bytes = [0; 2 * LANES];
        for l in 0..LANES {
            let [low, high] = halves[l].to_le_bytes();
            bytes[2 * l] = low;
            bytes[2 * l + 1] = high;
        }
        bytes
    }
}

impl Floats<{ 4 * LANES }> for F32 {
    #[inline(always)]
    fn widen<T: LaneOps>(_isa: T, bytes: &[u8; 4 * LANES]) -> Lanes {
        let mut x = [0.0; LANES];
        for l in 0..LANES {
            x[l] = f32::from_le_bytes([bytes[4 * l], bytes[4 * l + 1], bytes[4 * l + 2], bytes[4 * l + 3]]);
        }
        x
    }

    #[inline(always)]
    fn narrow<T: LaneOps>(_isa: T, x: &Lanes) -> [u8; 4 * LANES] {
        let mut bytes = [0; 4 * LANES];
        for l in 0..LANES {
            bytes[4 * l..4 * l + 4].copy_from_slice(&x[l].to_le_bytes());
        }
        bytes
    }
}

// In weighted sums: sixteen elements without a scale.

impl Unit<1, { 2 * LANES }> for F16 {
    #[inline(always)]
    fn scale<T: Vectors>(_isa: T, _unit: &[u8; 2 * LANES]) -> f32 {
        1.0
    }

    #[inline(always)]
    fn codes<T: Vectors>(isa: T, unit: &[u8; 2 * LANES]) -> [T::Vector; 1] {
        [isa.halves(unit)]
    }
}

impl Unit<1, { 4 * LANES }> for F32 {
    #[inline(always)]
    fn scale<T: Vectors>(_isa: T, _unit: &[u8; 4 * LANES]) -> f32 {
        1.0
    }

    #[inline(always)]
    fn codes<T: Vectors>(isa: T, unit: &[u8; 4 * LANES]) -> [T::Vector; 1] {
        [isa.floats(unit)]
    }
}
