//! Conversions between `f32` and the 16-bit float formats, a row at a time.
//!
//! Narrowing is to nearest even, overflow becomes infinity. The results are defined to the bit, NaNs
//! included, by [`crate::half_float`], whose rules are those of the conversion instructions that the
//! tiers use ([`LaneOps`]).

use super::lanes::{self, HalfLanes, LANES, LaneOps, Lanes};
use crate::half_float;

/// A conversion of sixteen elements. (A type, not a function value: see [`super::elementwise`].)
trait Conversion<A, B>: Copy {
    fn of(self, x: &[A; LANES]) -> [B; LANES];
}

#[derive(Clone, Copy)]
struct HalfPrecision<T>(T);

impl<T: LaneOps> Conversion<f32, u16> for HalfPrecision<T> {
    #[inline(always)]
    fn of(self, x: &Lanes) -> HalfLanes {
        self.0.narrow(x)
    }
}

impl<T: LaneOps> Conversion<u16, f32> for HalfPrecision<T> {
    #[inline(always)]
    fn of(self, x: &HalfLanes) -> Lanes {
        self.0.widen(x)
    }
}

/// Narrows `x: [n]` to half precision in `out: [n]`.
#[inline(always)]
pub(super) fn f32_to_f16<T: LaneOps>(isa: T, x: &[f32], out: &mut [u16]) {
    convert(HalfPrecision(isa), x, out);
}

/// Widens half-precision `x: [n]` into `out: [n]`, exactly.
#[inline(always)]
pub(super) fn f16_to_f32<T: LaneOps>(isa: T, x: &[u16], out: &mut [f32]) {
    convert(HalfPrecision(isa), x, out);
}

/// Narrows `x: [n]` to bfloat16 in `out: [n]`.
#[inline(always)]
pub(super) fn f32_to_bf16(x: &[f32], out: &mut [u16]) {
    let out = &mut out[..x.len()];
    for i in 0..x.len() {
        out[i] = half_float::f32_to_bf16(x[i]);
    }
}

/// Widens bfloat16 `x: [n]` into `out: [n]`, exactly.
#[inline(always)]
pub(super) fn bf16_to_f32(x: &[u16], out: &mut [f32]) {
    let out = &mut out[..x.len()];
    for i in 0..x.len() {
        out[i] = half_float::bf16_to_f32(x[i]);
    }
}

/// Converts `x: [n]` into `out: [n]`, sixteen at a time; the end is padded with zeros.
#[inline(always)]
fn convert<A: Copy + Default, B: Copy>(conversion: impl Conversion<A, B>, x: &[A], out: &mut [B]) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = conversion.of(&groups[i]);
    }
    if !out_tail.is_empty() {
        let end = conversion.of(&lanes::padded(tail, A::default()));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}
