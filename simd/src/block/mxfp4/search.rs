//! The search behind the encoder of MXFP4.
//!
//! The scale is a power of two, so there is little to choose: every power is tried under which the weight
//! of largest magnitude comes near the largest value or a few powers below it (where a clipped or coarser
//! extreme serves the others), and the one with the least squared error is taken, weighted by the
//! importance if given. The power that llama.cpp takes is the first, so the error is never above its.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use super::BYTES;
use crate::block::transposed::{LEN, Transposed};
use crate::block::windows::pack_nibbles;
use crate::wide::{LANES, Wide};

/// The scales tried, in the unit of the block, whose largest magnitude is 1 to 2.
const SCALES: [(i32, f32); 5] = [(-3, 0.125), (-2, 0.25), (-4, 0.0625), (-1, 0.5), (-5, 0.03125)];

/// Encodes a row, sixteen blocks at a time.
#[inline(always)]
pub(super) fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let importance = importance.map(|importance| importance.as_chunks::<LEN>().0);
    let groups = row.as_chunks::<LEN>().0.chunks(LANES).zip(out.as_chunks_mut::<BYTES>().0.chunks_mut(LANES));
    for (i, (blocks, out)) in groups.enumerate() {
        let importance = importance.map(|all| &all[LANES * i..][..blocks.len()]);
        let group = Transposed::<V>::of_blocks(isa, blocks, importance);
        let exponents = best_exponents(&group);
        let codes = codes(&group, &exponents);
        for (j, block) in out.iter_mut().enumerate() {
            let unit = (group.units[j].to_bits() >> 23) as i32 - 127;
            // Units lie between 2^-100 and 2^99, so this is a byte, and 12 times the scale finite.
            block[0] = (unit + exponents[j] + 128) as u8;
            pack_nibbles(&codes[j], &mut block[1..]);
        }
    }
}

/// The exponent of each block's scale, in its unit.
#[inline(always)]
fn best_exponents<V: Wide>(group: &Transposed<V>) -> [i32; LANES] {
    let isa = group.x[0].proof();
    let mut best = [0; LANES];
    let mut best_errors = [f32::INFINITY; LANES];
    for (exponent, scale) in SCALES {
        let (scale, inverse) = (V::splat(isa, scale), V::splat(isa, 1.0 / scale));
        let mut error = V::splat(isa, 0.0);
        for i in 0..LEN {
            let x = magnitude(group.x[i]);
            let off = nearest(x * inverse) * scale - x;
            error = error + group.w[i] * (off * off);
        }
        for (j, error) in error.store().into_iter().enumerate() {
            let is_better = error < best_errors[j];
            best[j] = if is_better { exponent } else { best[j] };
            best_errors[j] = if is_better { error } else { best_errors[j] };
        }
    }
    best
}

/// The codes of each block, for scales of these exponents.
#[inline(always)]
fn codes<V: Wide>(group: &Transposed<V>, exponents: &[i32; LANES]) -> [[u8; LEN]; LANES] {
    let isa = group.x[0].proof();
    let mut inverses = [0.0; LANES];
    for j in 0..LANES {
        inverses[j] = f32::from_bits(((127 - exponents[j]) << 23).cast_unsigned());
    }
    let inverse = V::load(isa, &inverses);
    let mut codes = [[0; LEN]; LANES];
    for i in 0..LEN {
        for (j, code) in value_code(group.x[i] * inverse).store().into_iter().enumerate() {
            codes[j][i] = code as u8;
        }
    }
    codes
}

/// The codes of the table values nearest to some numbers.
#[inline(always)]
pub(crate) fn value_code<V: Wide>(value: V) -> V {
    let isa = value.proof();
    let (zero, four) = (V::splat(isa, 0.0), V::splat(isa, 4.0));
    let q = nearest(magnitude(value));
    // Values 0, 1, 2, 3, 4 are their own codes; 6, 8 and 12 have the codes 5, 6 and 7.
    let low = q.min(four);
    let middle = (q - four).max(zero).min(four) * V::splat(isa, 0.5);
    let high = (q - V::splat(isa, 8.0)).max(zero) * V::splat(isa, 0.25);
    low + middle + high + value.less_then_else(zero, V::splat(isa, 8.0), zero)
}

#[inline(always)]
pub(crate) fn magnitude<V: Wide>(value: V) -> V {
    let isa = value.proof();
    value.max(V::splat(isa, 0.0) - value)
}

/// The nearest of 0, 1, 2, 3, 4, 6, 8 and 12 to a magnitude: multiples of 1, 2 or 4, depending on how
/// large it is.
#[inline(always)]
pub(crate) fn nearest<V: Wide>(magnitude: V) -> V {
    let isa = magnitude.proof();
    let magnitude = magnitude.min(V::splat(isa, 12.0));
    let (four, eight) = (V::splat(isa, 4.0), V::splat(isa, 8.0));
    let (two, one) = (V::splat(isa, 2.0), V::splat(isa, 1.0));
    let step = magnitude.less_then_else(four, one, magnitude.less_then_else(eight, two, four));
    let inverse = magnitude.less_then_else(
        four,
        one,
        magnitude.less_then_else(eight, V::splat(isa, 0.5), V::splat(isa, 0.25)),
    );
    (magnitude * inverse).round() * step
}
