//! Conversions between `f32` and the 16-bit float formats, a row at a time.
//!
//! Narrowing is to nearest even, overflow becomes infinity. The results are defined to the bit, NaNs included, by [`crate::half_float`],
//! whose rules are those of the conversion instructions that the tiers use ([`Tier`]).

use super::lanes::{self, HalfLanes, LANES, Lanes, Tier};
use crate::half_float;

/// Narrows `x: [n]` to half precision in `out: [n]`.
#[inline(always)]
pub(super) fn f32_to_f16<T: Tier>(x: &[f32], out: &mut [u16]) {
    map(x, out, 0.0, T::narrow);
}

/// Widens half-precision `x: [n]` into `out: [n]`, exactly.
#[inline(always)]
pub(super) fn f16_to_f32<T: Tier>(x: &[u16], out: &mut [f32]) {
    map(x, out, 0, T::widen);
}

/// Narrows `x: [n]` to bfloat16 in `out: [n]`.
#[inline(always)]
pub(super) fn f32_to_bf16(x: &[f32], out: &mut [u16]) {
    map(x, out, 0.0, |x: &Lanes| {
        let mut out = [0; LANES];
        for l in 0..LANES {
            out[l] = half_float::f32_to_bf16(x[l]);
        }
        out
    });
}

/// Widens bfloat16 `x: [n]` into `out: [n]`, exactly.
#[inline(always)]
pub(super) fn bf16_to_f32(x: &[u16], out: &mut [f32]) {
    map(x, out, 0, |x: &HalfLanes| {
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            out[l] = half_float::bf16_to_f32(x[l]);
        }
        out
    });
}

/// `out[i] = f(x[i])`, sixteen at a time; the end is padded with `fill`.
#[inline(always)]
fn map<A: Copy, B: Copy>(x: &[A], out: &mut [B], fill: A, f: impl Fn(&[A; LANES]) -> [B; LANES]) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = f(&groups[i]);
    }
    if !out_tail.is_empty() {
        let end = f(&lanes::padded(tail, fill));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}
