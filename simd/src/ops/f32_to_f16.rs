//! Half precision from single, to nearest even, as the key-value cache stores it.
//!
//! Overflow becomes infinity, NaN stays NaN. Each tier uses its conversion instruction
//! ([`Tier::narrow`]); IEEE 754 defines the result to the bit.

use super::lanes::{self, LANES, Tier};

/// Converts `x: [n]` into `out: [n]`.
#[inline(always)]
pub(super) fn f32_to_f16<T: Tier>(x: &[f32], out: &mut [u16]) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = T::narrow(&groups[i]);
    }
    if !out_tail.is_empty() {
        let end = T::narrow(&lanes::padded(tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}
