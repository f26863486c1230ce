//! The scale of a block without importance, searched in fixed point.
//!
//! Every weight becomes a 16-bit multiple of 1 / [`UNIT`] of the block's largest magnitude. Then a code is one
//! multiplication of 16-bit numbers, a vector holds twice as many of them as floats, and the sums that say
//! how well a range of codes fits are exact integers. A step of Q4_0's grid is 2048 units, so the rounding of
//! the weights decides nothing.
//!
//! The first range tried is that of plain rounding, and the scale is the f16 nearest to the least-squares fit of
//! the best: for given codes the error is a parabola in the scale, and codes are rounded once more with the scale
//! that is stored. So no block errs more than with plain rounding, but for what the rounding of the scale decides,
//! which is nothing unless it is among the least halves.

use crate::block::k::symmetric::Moments;
use crate::block::search::{LARGEST_HALF, LEN};
use crate::wide::columns::{HUGE, TINY};
use crate::wide::pairs::rounded_products;
use crate::wide::{LANES, Pairs, Wide};

/// What the largest magnitude is in fixed point: half of what 16 bits hold, so that factors are half codes.
const UNIT: f32 = 16384.0;

/// Up to sixteen blocks.
pub(super) struct Group<V> {
    /// Weight `i` of every block is number `i % 16` of half `i / 16`.
    pub(super) columns: [[V; LANES]; 2],
    /// What has the largest magnitude in each block.
    extremes: V,
}

impl<V: Wide> Group<V> {
    /// The blocks of `row`, at most sixteen. A weight that is not finite becomes zero.
    #[inline(always)]
    pub(super) fn load(isa: V::Proof, row: &[f32]) -> Self {
        let (padded, bounded);
        let blocks = if let Some(blocks) = row.as_chunks::<LEN>().0.first_chunk() {
            blocks
        } else {
            padded = map_blocks(row, |x| x);
            &padded
        };
        let mut columns = V::columns(isa, blocks);
        let mut extremes = V::extremes(&columns);
        if !extremes.store().iter().all(|x| x.abs() < HUGE) {
            bounded = map_blocks(row, |x| if x.is_finite() { x.clamp(-HUGE, HUGE) } else { 0.0 });
            columns = V::columns(isa, &bounded);
            extremes = V::extremes(&columns);
        }
        Self { columns, extremes }
    }

    /// The best scale of each block, as f16 bits, for codes up to `HIGH`, of several codes (given doubled) that
    /// the weight of largest magnitude could have.
    #[inline(always)]
    pub(super) fn scales<const HIGH: i8>(&self, doubled_codes: &[i16]) -> [u16; LANES] {
        let isa = self.extremes.proof();
        let (zero, one) = (V::splat(isa, 0.0), V::splat(isa, 1.0));
        // A block of next to nothing becomes zeros.
        let unit = self.extremes.abs().less_then_else(
            V::splat(isa, TINY),
            zero,
            V::splat(isa, UNIT) / self.extremes,
        );
        let mut x = [V::Pairs::splat(isa, [0; 2]); LANES];
        for (i, x) in x.iter_mut().enumerate() {
            *x = rounded_products(self.columns[0][i], self.columns[1][i], unit, 0);
        }
        let mut best = moments::<V, HIGH>(&x, doubled_codes[0]);
        for &code in &doubled_codes[1..] {
            best.offer(&moments::<V, HIGH>(&x, code));
        }
        // Without any code there is no sum either.
        let scale = best.xq / best.qq.max(one) * (self.extremes * V::splat(isa, 1.0 / UNIT));
        scale.clamp(V::splat(isa, -LARGEST_HALF), V::splat(isa, LARGEST_HALF)).to_f16()
    }
}

/// Whether the codes that arise, if the largest magnitude has half these ones, are at least `low`.
pub(super) const fn are_above(doubled_codes: &[i16], low: i8) -> bool {
    let mut i = 0;
    while i < doubled_codes.len() {
        // Of the largest magnitude and of its negative; halves are rounded upwards.
        let least = (1 - doubled_codes[i].abs()) >> 1;
        if least < low as i16 {
            return false;
        }
        i += 1;
    }
    true
}

/// The weights of up to sixteen blocks after `f`, and zeros.
fn map_blocks(row: &[f32], f: impl Fn(f32) -> f32) -> [[f32; LEN]; LANES] {
    let mut blocks = [[0.0; LEN]; LANES];
    for (out, &x) in blocks.as_flattened_mut().iter_mut().zip(row) {
        *out = f(x);
    }
    blocks
}

/// The moments of the codes that arise if the largest magnitude has half this code. Each is below 2^24, or, for
/// 8-bit codes, rounded to as many bits.
#[inline(always)]
fn moments<V: Wide, const HIGH: i8>(x: &[V::Pairs; LANES], doubled_code: i16) -> Moments<V> {
    let isa = x[0].proof();
    let (factor, high) =
        (V::Pairs::splat(isa, [doubled_code; 2]), V::Pairs::splat(isa, [i16::from(HIGH); 2]));
    let none = V::Pairs::splat(isa, [0; 2]);
    // Two sums each, so that an addition need not wait for the one before.
    let (mut xq, mut qq) = ([none; 2], [none; 2]);
    for x in x.as_chunks::<2>().0 {
        for k in 0..2 {
            let q = x[k].times(factor).min(high);
            xq[k] = xq[k].add_products(x[k], q);
            qq[k] = qq[k].add_products(q, q);
        }
    }
    Moments { xq: V::from_integers(xq[0].add(xq[1])), qq: V::from_integers(qq[0].add(qq[1])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_below_the_grid_are_refused() {
        assert!(are_above(&[-16, -17, 15, 16], -8));
        assert!(!are_above(&[-18], -8) && !are_above(&[18], -8));
    }
}
