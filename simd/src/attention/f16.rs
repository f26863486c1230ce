//! Rows in half precision: the bits of each element, least byte first.

use super::sums::Unit;
use super::vectors::Vectors;
use crate::ops::lanes::{self, HalfLanes, LANES, LaneOps, Lanes};

/// Bytes of sixteen elements.
const BYTES: usize = 2 * LANES;

/// Stores floats, to nearest even.
#[inline(always)]
pub(super) fn store<T: LaneOps>(isa: T, x: &[f32], out: &mut [u8]) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<BYTES>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = to_bytes(&isa.narrow(&groups[i]));
    }
    if !out_tail.is_empty() {
        let end = to_bytes(&isa.narrow(&lanes::padded(tail, 0.0)));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}

#[inline(always)]
fn to_bytes(halves: &HalfLanes) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for l in 0..LANES {
        let [low, high] = halves[l].to_le_bytes();
        bytes[2 * l] = low;
        bytes[2 * l + 1] = high;
    }
    bytes
}

/// Sixteen elements as floats.
#[inline(always)]
pub(super) fn widen<T: LaneOps>(isa: T, bytes: &[u8; BYTES]) -> Lanes {
    let mut halves = [0; LANES];
    for l in 0..LANES {
        halves[l] = u16::from_le_bytes([bytes[2 * l], bytes[2 * l + 1]]);
    }
    isa.widen(&halves)
}

/// Half precision in weighted sums: sixteen elements without a scale.
pub(super) struct F16;

impl Unit<1, BYTES> for F16 {
    #[inline(always)]
    fn scale<T: Vectors>(_isa: T, _unit: &[u8; BYTES]) -> f32 {
        1.0
    }

    #[inline(always)]
    fn codes<T: Vectors>(isa: T, unit: &[u8; BYTES]) -> [T::Vector; 1] {
        [isa.halves(unit)]
    }
}
