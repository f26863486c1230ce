//! The search behind the encoder of Q2_0.
//!
//! With codes of -1 to 2 the scale may be negative, too, so that a block has two values on the side where it
//! needs them. Sixteen scales, a lane each and eight of a sign, start between a fifth and all of the largest
//! magnitude. Under the codes that a scale leads to, the scale of least error is `sum(w q x) / sum(w q q)`, and
//! the error falls by `sum(w q x)^2 / sum(w q q)`: scales move there a few times, which never makes the error
//! larger, and the best one wins.

use super::{BYTES, LEN};
use crate::block::k::{error_weights, normal_unit, round_to_half, usable};
use crate::wide::{LANES, Wide};

/// What the first scale of a sign is of the largest magnitude, and each of the one before.
const RATIO: f32 = 0.8;

/// How often scales move.
const ROUNDS: usize = 3;

/// Encodes a row.
#[inline(always)]
pub(super) fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let blocks = row.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0);
    for (i, (row, block)) in blocks.enumerate() {
        let unit = normal_unit(row);
        let weights = error_weights(importance.and_then(|all| all.as_chunks::<LEN>().0.get(i)));
        let mut x = [0.0; LEN];
        for i in 0..LEN {
            x[i] = usable(row[i]) / unit;
        }
        let (half, d) = round_to_half(best_scale::<V>(isa, &x, &weights) * unit);
        // A subnormal `d` has an inverse that is infinite, of which no code is a number.
        let inverse = if d == 0.0 { 0.0 } else { unit / d };
        block[..2].copy_from_slice(&half);
        for (byte, x) in block[2..].iter_mut().zip(x.as_chunks::<4>().0) {
            *byte = x.iter().rev().fold(0, |byte, x| byte << 2 | code(x * inverse));
        }
    }
}

/// The code nearest to a weight over the scale.
#[inline(always)]
fn code(x: f32) -> u8 {
    (x.clamp(-1.0, 2.0).round_ties_even() + 1.0) as u8
}

/// The scale of least error.
#[inline(always)]
fn best_scale<V: Wide>(isa: V::Proof, x: &[f32; LEN], weights: &[f32; LEN]) -> f32 {
    let mut largest = 0.0;
    for x in x {
        largest = if x.abs() > largest { x.abs() } else { largest };
    }
    let mut starts = [largest; LANES];
    for l in 1..LANES / 2 {
        starts[l] = starts[l - 1] * RATIO;
    }
    for l in 0..LANES / 2 {
        starts[LANES / 2 + l] = -starts[l];
    }
    let (zero, low, high) = (V::splat(isa, 0.0), V::splat(isa, -1.0), V::splat(isa, 2.0));
    let (mut scales, mut gains) = (V::load(isa, &starts), zero);
    for _ in 0..=ROUNDS {
        let inverse = scales.recip_or_zero();
        let (mut qx, mut qq) = (zero, zero);
        for (&x, &weight) in x.iter().zip(weights) {
            let x = V::splat(isa, x);
            let q = (x * inverse).clamp(low, high).round();
            let wq = V::splat(isa, weight) * q;
            qx = wq.mul_add(x, qx);
            qq = wq.mul_add(q, qq);
        }
        scales = qx * qq.recip_or_zero();
        gains = qx * scales;
    }
    let (scales, gains) = (scales.store(), gains.store());
    let mut best = 0;
    for l in 1..LANES {
        best = if gains[l] > gains[best] { l } else { best };
    }
    scales[best]
}
