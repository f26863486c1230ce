//! Sixteen runs of weights side by side, and how much the error of each weight matters.
//!
//! What is sixteen times the same search is done at once: the runs (blocks, or sub-blocks of a K type)
//! are transposed, so that a vector holds one weight of each. Weights are bounded to what an f16 scale
//! can reach, with room to spare, so that no product or square in a search overflows or vanishes.

use super::{LANES, Wide};

/// Magnitudes above it saturate: the largest a block can hold is 65504 * 128 * 32, below 2^28.
pub(crate) const HUGE: f32 = (1u64 << 30) as f32;

/// Magnitudes below it count as zero: the smallest scale is 2^-24.
pub(crate) const TINY: f32 = 1.0 / HUGE;

/// Up to sixteen runs of `N` weights, `N` a multiple of 16; missing ones are zeros.
pub(crate) struct Columns<V, const N: usize> {
    /// The weights in their order: run `l` is the vectors from `N / 16 * l` on.
    pub(crate) rows: [V; N],
    /// Weight `i` of every run.
    pub(crate) x: [V; N],
}

impl<V: Wide, const N: usize> Columns<V, N> {
    /// The runs of `row`, at most sixteen. A weight that is not finite becomes zero.
    #[inline(always)]
    pub(crate) fn load(isa: V::Proof, row: &[f32]) -> Self {
        let (zero, huge) = (V::splat(isa, 0.0), V::splat(isa, HUGE));
        let mut rows = [zero; N];
        for (out, x) in rows.iter_mut().zip(row.as_chunks().0) {
            let x = V::load(isa, x);
            let magnitude = x.abs();
            let finite = magnitude.less_then_else(V::splat(isa, f32::INFINITY), x, zero);
            let seen = magnitude.less_then_else(V::splat(isa, TINY), zero, finite);
            *out = seen.clamp(zero - huge, huge);
        }
        Self { x: transposed(&rows), rows }
    }
}

/// How much the squared error of each weight counts.
pub(crate) trait Weights<V: Wide> {
    /// Of runs whose importance is `importance`, scaled so that `together` (1, 8 or 16) runs weigh one
    /// on average.
    fn load(isa: V::Proof, importance: &[f32], together: usize) -> Self;

    /// The lanes times the weights at `i`.
    fn times(&self, i: usize, lanes: V) -> V;
}

/// Every weight counts one.
pub(crate) struct Even;

impl<V: Wide> Weights<V> for Even {
    #[inline(always)]
    fn load(_: V::Proof, _: &[f32], _: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn times(&self, _: usize, lanes: V) -> V {
        lanes
    }
}

/// Each weight counts what its importance says.
pub(crate) struct Uneven<V, const N: usize>([V; N]);

impl<V: Wide, const N: usize> Weights<V> for Uneven<V, N> {
    /// An importance that is not finite and positive counts as zero, though no weight is zero; all weights
    /// are one where no importance is positive.
    #[inline(always)]
    fn load(isa: V::Proof, importance: &[f32], together: usize) -> Self {
        const FLOOR: f32 = 1e-6;
        let (zero, one, infinite) = (V::splat(isa, 0.0), V::splat(isa, 1.0), V::splat(isa, f32::INFINITY));
        let mut rows = [zero; N];
        for (out, w) in rows.iter_mut().zip(importance.as_chunks().0) {
            let w = V::load(isa, w);
            *out = zero.less_then_else(w, w.less_then_else(infinite, w, zero), zero);
        }
        let mut weights = transposed(&rows);
        let mut sum = zero;
        for &w in &weights {
            sum = sum + w;
        }
        let scale = V::splat(isa, (N * together) as f32) / sum.sum_runs(together);
        let factor = if_usable(scale, scale, zero);
        let floor = if_usable(scale, V::splat(isa, FLOOR), one);
        for w in &mut weights {
            *w = w.mul_add(factor, floor);
        }
        Self(weights)
    }

    #[inline(always)]
    fn times(&self, i: usize, lanes: V) -> V {
        lanes * self.0[i]
    }
}

/// `yes` in the lanes where a scale is finite and positive, else `no`. (A function, because the closure was not
/// inlined into the AVX2 encoders.)
#[inline(always)]
fn if_usable<V: Wide>(scale: V, yes: V, no: V) -> V {
    let positive = scale.all(f32::MIN_POSITIVE).less_then_else(scale, yes, no);
    scale.less_then_else(scale.all(f32::INFINITY), positive, no)
}

/// Sixteen runs of `N`, one after the other, to `N` vectors of one element of each.
#[inline(always)]
fn transposed<V: Wide, const N: usize>(rows: &[V; N]) -> [V; N] {
    let isa = rows[0].proof();
    let parts = N / LANES;
    let mut columns = [V::splat(isa, 0.0); N];
    for (part, columns) in columns.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut square = [V::splat(isa, 0.0); LANES];
        for (l, row) in square.iter_mut().enumerate() {
            *row = rows[parts * l + part];
        }
        *columns = V::transpose(&square);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::Portable;

    #[test]
    fn columns_hold_one_weight_of_every_run() {
        let mut row: Vec<f32> = (0..3 * 32).map(|i| i as f32 + 1.0).collect();
        (row[5], row[6], row[7], row[8]) = (f32::NAN, f32::INFINITY, -1e20, 1e-20);
        let columns = Columns::<Portable, 32>::load((), &row);
        let lane = |i: usize, l: usize| columns.x[i].store()[l];
        assert_eq!([0, 1, 2, 3].map(|l| lane(31, l)), [32.0, 64.0, 96.0, 0.0]);
        assert_eq!([5, 6, 7, 8, 9].map(|i| lane(i, 0)), [0.0, 0.0, -HUGE, 0.0, 10.0]);
        assert_eq!(columns.rows[2].store()[..2], [33.0, 34.0]);
    }

    #[test]
    fn weights_average_one_over_the_runs_they_belong_to() {
        let importance: Vec<f32> = (0..16 * 16).map(|i| if i % 7 == 0 { -1.0 } else { i as f32 }).collect();
        for together in [1, 8, 16] {
            let weights = Uneven::<Portable, 16>::load((), &importance, together);
            let mut sums = [0.0; LANES];
            for i in 0..16 {
                let lanes = weights.times(i, Portable::splat((), 1.0)).store();
                assert!(lanes.iter().all(|&w| w > 0.0));
                sums.iter_mut().zip(lanes).for_each(|(sum, w)| *sum += w / 16.0);
            }
            for run in sums.chunks(together) {
                let mean = run.iter().sum::<f32>() / together as f32;
                assert!((mean - 1.0).abs() < 1e-4, "{together}: {mean}");
            }
        }
    }

    #[test]
    fn importance_that_says_nothing_counts_one() {
        let weights = Uneven::<Portable, 16>::load((), &[0.0, f32::NAN, f32::INFINITY, -1.0].repeat(64), 1);
        assert_eq!(weights.times(3, Portable::splat((), 2.0)).store(), [2.0; LANES]);
    }
}
