//! The search behind the encoders of the K types without minima, and its part for a single scale.
//!
//! A weight is coded as `x ~ d * ls * q`: codes `q` in `LOW..=HIGH`, a signed scale `ls` in
//! `SCALE_LOW..=SCALE_HIGH` per sub-block of 16 and a half `d` per super-block. The search minimises
//! `sum w (x - coded)^2`, with `w` the importance of the column, or 1:
//!
//! 1. each sub-block alone: for several ranges of values to spread the codes over, round, and fit the
//!    scale to the codes by least squares;
//! 2. the super-block: of several `d` the one whose grid of scales adds the least error to those fits;
//!    then the neighbours of the rounded scales, with the error they really have.
//!
//! A lane is a sub-block: the sixteen of a super-block are searched side by side.

use crate::block::k::{SUPER_LEN, round_halves};
use crate::wide::columns::{Columns, Even, Uneven, Weights};
use crate::wide::{LANES, Wide};

const SUB_LEN: usize = 16;

/// The ranges tried in step 1: how far beyond `LOW` and beyond `HIGH` the code of the value of largest
/// magnitude lies, as a real. Ranges far apart find more than close ones.
const BEYOND: [f32; 9] = [0.0, 0.4, -0.4, 0.8, -0.8, 1.2, -1.2, 1.6, -1.6];

/// The codes, as reals, that step 1 gives the value of largest magnitude.
const fn extreme_codes(low: i8, high: i8) -> [f32; 2 * BEYOND.len()] {
    let mut codes = [0.0; 2 * BEYOND.len()];
    let mut i = 0;
    while i < BEYOND.len() {
        codes[2 * i] = low as f32 - BEYOND[i];
        codes[2 * i + 1] = high as f32 + BEYOND[i];
        i += 1;
    }
    codes
}

/// A later range must gain more than this share over an earlier one, so that rounding errors do not
/// choose between ranges that are equally good.
const MARGIN: f32 = 1e-6;

/// The scale codes tried in step 2 for the scale of largest magnitude: how far inside their range.
const INSIDE: [f32; 3] = [0.0, 1.0, 2.0];

/// The scale codes tried beside the rounded ones.
const BESIDE: [f32; 3] = [0.0, -1.0, 1.0];

/// What the search finds for a super-block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SuperBlock {
    /// `d`, as f16 bits.
    pub(crate) d: [u8; 2],
    /// The scale of each sub-block.
    pub(crate) scales: [i8; LANES],
    /// The code of each weight, less `LOW`.
    pub(crate) codes: [u8; SUPER_LEN],
}

/// How a type stores a super-block. (A trait, because a closure would not be inlined into a kernel.)
pub(crate) trait Layout<const BYTES: usize> {
    /// Fills a block. Always inlined.
    fn write(block: &mut [u8; BYTES], found: &SuperBlock);
}

/// Encodes a row of whole super-blocks with codes `LOW..=HIGH` and scales `SCALE_LOW..=SCALE_HIGH`, both
/// with more room below zero than above, into blocks of the layout `L`.
#[inline(always)]
pub(crate) fn encode<
    V: Wide,
    L: Layout<BYTES>,
    const LOW: i8,
    const HIGH: i8,
    const SCALE_LOW: i8,
    const SCALE_HIGH: i8,
    const BYTES: usize,
>(
    isa: V::Proof,
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    let blocks = row.as_chunks::<SUPER_LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0);
    let Some(importance) = importance else {
        for (row, block) in blocks {
            let group = Group::<V, Even, SUB_LEN, LOW, HIGH>::load(isa, row, &[], LANES);
            L::write(block, &search::<V, _, LOW, HIGH, SCALE_LOW, SCALE_HIGH>(&group));
        }
        return;
    };
    for ((row, block), importance) in blocks.zip(importance.as_chunks::<SUPER_LEN>().0) {
        let group = Group::<V, Uneven<V, SUB_LEN>, SUB_LEN, LOW, HIGH>::load(isa, row, importance, LANES);
        L::write(block, &search::<V, _, LOW, HIGH, SCALE_LOW, SCALE_HIGH>(&group));
    }
}

/// Step 2.
#[inline(always)]
fn search<
    V: Wide,
    W: Weights<V>,
    const LOW: i8,
    const HIGH: i8,
    const SCALE_LOW: i8,
    const SCALE_HIGH: i8,
>(
    group: &Group<V, W, SUB_LEN, LOW, HIGH>,
) -> SuperBlock {
    let isa = group.columns()[0].proof();
    let (bottom, top) = (V::splat(isa, f32::from(SCALE_LOW)), V::splat(isa, f32::from(SCALE_HIGH)));
    let fit = group.fit(&const { extreme_codes(LOW, HIGH) });
    let near = fit.scale();
    let largest = largest_of_all(near);
    let (mut d, mut least_excess) = (V::splat(isa, 0.0), V::splat(isa, f32::INFINITY));
    for inside in INSIDE {
        for code in [f32::from(SCALE_LOW) + inside, f32::from(SCALE_HIGH) - inside] {
            let new = round_halves(largest * V::splat(isa, 1.0 / code));
            let ls = (near * new.recip_or_zero()).clamp(bottom, top).round();
            let off = near - ls * new;
            let excess = (off * off * fit.qq).sum_runs(LANES);
            d = excess.less_then_else(least_excess, new, d);
            least_excess = excess.min(least_excess);
        }
    }
    let ls = group.beside::<SCALE_LOW, SCALE_HIGH>(near, d);
    let codes = group.codes((ls * d).recip_or_zero());
    let mut found =
        SuperBlock { d: d.to_f16()[0].to_le_bytes(), scales: ls.round_to_i8(), codes: [0; SUPER_LEN] };
    for (out, code) in found.codes.iter_mut().zip(codes.as_flattened()) {
        *out = code.wrapping_sub(LOW).cast_unsigned();
    }
    found
}

/// The lane of largest magnitude, in every lane.
#[inline(always)]
fn largest_of_all<V: Wide>(lanes: V) -> V {
    let isa = lanes.proof();
    let (high, low) = (lanes.max_runs(LANES), (V::splat(isa, 0.0) - lanes).max_runs(LANES));
    high.less_then_else(low, V::splat(isa, 0.0) - low, high)
}

/// `sum wqx` and `sum wqq` for some codes `q`.
#[derive(Clone, Copy)]
pub(crate) struct Moments<V> {
    pub(crate) xq: V,
    pub(crate) qq: V,
}

impl<V: Wide> Moments<V> {
    /// The scale of least error for the codes. The error is `sum wxx - xq^2 / qq`.
    #[inline(always)]
    pub(crate) fn scale(&self) -> V {
        self.xq * self.qq.recip_or_zero()
    }

    /// Takes others over in the lanes where they gain.
    #[inline(always)]
    pub(crate) fn offer(&mut self, new: &Self) {
        let enough = self.xq * self.xq * new.qq * self.xq.all(1.0 + MARGIN);
        let gain = new.xq * new.xq * self.qq;
        self.xq = enough.less_then_else(gain, new.xq, self.xq);
        self.qq = enough.less_then_else(gain, new.qq, self.qq);
    }
}

/// Sixteen runs of `N` weights.
pub(crate) struct Group<V, W, const N: usize, const LOW: i8, const HIGH: i8> {
    columns: Columns<V, N>,
    weights: W,
}

impl<V: Wide, W: Weights<V>, const N: usize, const LOW: i8, const HIGH: i8> Group<V, W, N, LOW, HIGH> {
    /// Up to sixteen runs, which have their importance scaled `together` (1, 8 or 16 at a time).
    #[inline(always)]
    pub(crate) fn load(isa: V::Proof, row: &[f32], importance: &[f32], together: usize) -> Self {
        Self { columns: Columns::load(isa, row), weights: W::load(isa, importance, together) }
    }

    /// Weight `i` of every run, for every `i`.
    #[inline(always)]
    pub(crate) fn columns(&self) -> &[V; N] {
        &self.columns.x
    }

    /// The value of largest magnitude of each run.
    #[inline(always)]
    pub(crate) fn extreme(&self) -> V {
        let isa = self.columns.x[0].proof();
        let (mut low, mut high) = (V::splat(isa, 0.0), V::splat(isa, 0.0));
        for &x in &self.columns.x {
            low = low.min(x);
            high = high.max(x);
        }
        high.less_then_else(V::splat(isa, 0.0) - low, low, high)
    }

    /// Step 1: the moments of the codes of each run that gain most, on its own, of several codes that the
    /// value of largest magnitude could have.
    #[inline(always)]
    pub(crate) fn fit(&self, extreme_codes: &[f32]) -> Moments<V> {
        let isa = self.columns.x[0].proof();
        let inverse = self.extreme().recip_or_zero();
        let mut best = Moments { xq: V::splat(isa, 0.0), qq: V::splat(isa, 1.0) };
        for &code in extreme_codes {
            self.offer(&mut best, inverse * V::splat(isa, code));
        }
        best
    }

    /// Rounds to codes with `inverse`, and takes their moments over in the lanes where they gain.
    #[inline(always)]
    fn offer(&self, best: &mut Moments<V>, inverse: V) {
        best.offer(&self.moments(inverse));
    }

    /// The moments of the codes that `inverse` leads to.
    #[inline(always)]
    pub(crate) fn moments(&self, inverse: V) -> Moments<V> {
        let isa = inverse.proof();
        let (mut qq, mut xq) = ([V::splat(isa, 0.0); 2], [V::splat(isa, 0.0); 2]);
        for (i, x) in self.columns.x.as_chunks::<2>().0.iter().enumerate() {
            for k in 0..2 {
                let q = Self::code(x[k] * inverse).round();
                let wq = self.weights.times(2 * i + k, q);
                qq[k] = wq.mul_add(q, qq[k]);
                xq[k] = wq.mul_add(x[k], xq[k]);
            }
        }
        Moments { xq: xq[0] + xq[1], qq: qq[0] + qq[1] }
    }

    /// The weighted error of each run with a scale.
    #[inline(always)]
    pub(crate) fn error(&self, scale: V) -> V {
        let isa = scale.proof();
        let inverse = scale.recip_or_zero();
        let mut error = [V::splat(isa, 0.0); 2];
        for (i, x) in self.columns.x.as_chunks::<2>().0.iter().enumerate() {
            for k in 0..2 {
                let off = Self::code(x[k] * inverse).round().mul_sub(scale, x[k]);
                error[k] = self.weights.times(2 * i + k, off).mul_add(off, error[k]);
            }
        }
        error[0] + error[1]
    }

    /// A code on the grid's range, before it is rounded.
    #[inline(always)]
    fn code(code: V) -> V {
        let isa = code.proof();
        code.clamp(V::splat(isa, f32::from(LOW)), V::splat(isa, f32::from(HIGH)))
    }

    /// The codes in the order of the weights, `N` for each run.
    #[inline(always)]
    pub(crate) fn codes(&self, inverse: V) -> [[i8; LANES]; N] {
        let isa = inverse.proof();
        let inverses = inverse.store();
        let mut codes = [[0; LANES]; N];
        for (i, (codes, &x)) in codes.iter_mut().zip(&self.columns.rows).enumerate() {
            *codes = Self::code(x * V::splat(isa, inverses[LANES * i / N])).round_to_i8();
        }
        codes
    }

    /// The best scale codes beside `near`, for a given `d`.
    #[inline(always)]
    fn beside<const SCALE_LOW: i8, const SCALE_HIGH: i8>(&self, near: V, d: V) -> V {
        let isa = near.proof();
        let (bottom, top) = (V::splat(isa, f32::from(SCALE_LOW)), V::splat(isa, f32::from(SCALE_HIGH)));
        let ls_near = (near * d.recip_or_zero()).clamp(bottom, top).round();
        let (mut best, mut best_error) = (V::splat(isa, 0.0), V::splat(isa, f32::INFINITY));
        for by in BESIDE {
            let ls = (ls_near + V::splat(isa, by)).clamp(bottom, top);
            let error = self.error(ls * d);
            best = error.less_then_else(best_error, ls, best);
            best_error = error.min(best_error);
        }
        best
    }
}
