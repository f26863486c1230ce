//! The search behind the encoders of the K types with minima, and its part for a single scale.
//!
//! A weight is coded as `x ~ d * ls * q - dmin * lm`: codes `q` in `0..=TOP`, a scale `ls` and a minimum
//! `lm` in `0..=TOP_SCALE` per sub-block of `SUB_LEN` (32 or 16) weights, halves `d` and `dmin` per
//! super-block. The search minimises `sum w (x - coded)^2`, with `w` the importance of the column, or 1:
//!
//! 1. each sub-block alone: for several ranges of values to spread the codes over, round, and fit scale
//!    and minimum to the codes by least squares;
//! 2. each super-block: for several `d` and `dmin`, the grid's scales and minima that add the least error
//!    to those fits, and the error they have once the codes are rounded with them; the best goes on;
//! 3. fit `(d, dmin)` to the codes by least squares, round them to f16, choose the best scales and minima
//!    for these codes, round to codes with them, and keep what is better;
//! 4. the best of these: try the neighbours of every scale and minimum with the error they really have.
//!
//! With the codes fixed the error is a quadratic function of scale and minimum, known from a few moments,
//! so only a change of codes needs a pass over the weights.
//!
//! A lane is a sub-block, so sixteen of them, one super-block or two, are searched side by side without
//! a horizontal sum.

mod group;

use crate::array;
use crate::block::k::{SUPER_LEN, round_halves};
use crate::wide::columns::{Even, Uneven, Weights};
use crate::wide::{LANES, Wide};

pub(crate) use group::Group;
use group::Moments;

/// How far below the top the codes are that step 2 tries for the largest scale and the largest minimum of
/// a super-block.
const BELOW_TOP: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

/// What the search finds for a super-block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SuperBlock<'a> {
    /// `d`, as f16 bits.
    pub(crate) d: [u8; 2],
    /// `dmin`, as f16 bits.
    pub(crate) dmin: [u8; 2],
    /// The scale of each sub-block.
    pub(crate) scales: &'a [u8],
    /// The minimum of each sub-block.
    pub(crate) minima: &'a [u8],
    /// The code of each weight.
    pub(crate) codes: &'a [u8; SUPER_LEN],
}

/// How a type stores a super-block. (A trait, because a closure would not be inlined into a kernel.)
pub(crate) trait Layout<const BYTES: usize> {
    /// Fills a block. Always inlined.
    fn write(block: &mut [u8; BYTES], found: &SuperBlock<'_>);
}

/// Encodes a row of whole super-blocks, with sub-blocks of `SUB_LEN` weights (16 or 32), codes `0..=TOP`,
/// and scales and minima `0..=TOP_SCALE`, into blocks of the layout `L`.
#[inline(always)]
pub(crate) fn encode<
    V: Wide,
    L: Layout<BYTES>,
    const SUB_LEN: usize,
    const TOP: u8,
    const TOP_SCALE: u8,
    const BYTES: usize,
>(
    isa: V::Proof,
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    let group_len = LANES * SUB_LEN;
    let groups = row.chunks(group_len).zip(out.chunks_mut(group_len / SUPER_LEN * BYTES));
    let subs = SUPER_LEN / SUB_LEN;
    let Some(importance) = importance else {
        for (row, out) in groups {
            let group = Group::<V, Even, SUB_LEN, TOP, false>::load(isa, row, &[], subs);
            write::<L, SUB_LEN, BYTES>(&search::<V, _, SUB_LEN, TOP, TOP_SCALE>(&group), out);
        }
        return;
    };
    for ((row, out), importance) in groups.zip(importance.chunks(group_len)) {
        let group = Group::<V, Uneven<V, SUB_LEN>, SUB_LEN, TOP, false>::load(isa, row, importance, subs);
        write::<L, SUB_LEN, BYTES>(&search::<V, _, SUB_LEN, TOP, TOP_SCALE>(&group), out);
    }
}

/// Writes the super-blocks of a group.
#[inline(always)]
fn write<L: Layout<BYTES>, const SUB_LEN: usize, const BYTES: usize>(found: &Found<SUB_LEN>, out: &mut [u8]) {
    let subs = SUPER_LEN / SUB_LEN;
    let codes = found.codes.as_flattened().as_chunks::<SUPER_LEN>().0;
    for (h, (block, codes)) in out.as_chunks_mut::<BYTES>().0.iter_mut().zip(codes).enumerate() {
        let (scales, minima) = (&found.scales[subs * h..][..subs], &found.minima[subs * h..][..subs]);
        let (d, dmin) = (found.d[subs * h].to_le_bytes(), found.dmin[subs * h].to_le_bytes());
        L::write(block, &SuperBlock { d, dmin, scales, minima, codes });
    }
}

/// An encoded group, by sub-block; halves are repeated for all sub-blocks of a super-block.
struct Found<const SUB_LEN: usize> {
    d: [u16; LANES],
    dmin: [u16; LANES],
    scales: [u8; LANES],
    minima: [u8; LANES],
    codes: [[u8; LANES]; SUB_LEN],
}

/// All steps after the first.
#[inline(always)]
fn search<V: Wide, W: Weights<V>, const SUB_LEN: usize, const TOP: u8, const TOP_SCALE: u8>(
    group: &Group<V, W, SUB_LEN, TOP, false>,
) -> Found<SUB_LEN> {
    let isa = group.low.proof();
    let subs = SUPER_LEN / SUB_LEN;
    let (fit, moments) = group.fit();
    let (scale, min) = (fit.scale.max_runs(subs), (fit.base - group.low).max_runs(subs));
    let mut best = Grid::none(isa);
    for below in BELOW_TOP {
        let share = V::splat(isa, 1.0 / (f32::from(TOP_SCALE) - below));
        let (d, dmin) = (round_halves(scale * share), round_halves(min * share));
        let grid = group.round_scales::<TOP_SCALE>(&moments, fit.scale, d, dmin);
        best = best.better(group.recoded(grid));
    }
    best = best.better(group.recoded(group.refitted::<TOP_SCALE>(&best)));
    let best = group.beside::<TOP_SCALE>(&best);
    Found {
        d: best.d.to_f16(),
        dmin: best.dmin.to_f16(),
        scales: array::map(&best.ls.round_to_i8(), i8::cast_unsigned),
        minima: array::map(&best.lm.round_to_i8(), i8::cast_unsigned),
        codes: group.codes(best.lm * best.dmin, best.scale().recip_or_zero()),
    }
}

/// Scales and minima on the grid of `d` and `dmin`.
#[derive(Clone, Copy)]
struct Grid<V> {
    d: V,
    dmin: V,
    ls: V,
    lm: V,
    /// Error of the whole super-block, less a constant, in each of its lanes.
    cost: V,
}

impl<V: Wide> Grid<V> {
    /// Worse than any other.
    #[inline(always)]
    fn none(isa: V::Proof) -> Self {
        let zero = V::splat(isa, 0.0);
        Self { d: zero, dmin: zero, ls: zero, lm: zero, cost: V::splat(isa, f32::INFINITY) }
    }

    #[inline(always)]
    fn scale(&self) -> V {
        self.ls * self.d
    }

    /// What is added to a column before it is divided by the scale.
    #[inline(always)]
    fn base<W: Weights<V>, const N: usize, const TOP: u8>(&self, group: &Group<V, W, N, TOP, false>) -> V {
        self.lm.mul_add(self.dmin, group.low)
    }

    /// The better of both, by super-block.
    #[inline(always)]
    fn better(self, other: Self) -> Self {
        let pick = |new, old| other.cost.less_then_else(self.cost, new, old);
        Self {
            d: pick(other.d, self.d),
            dmin: pick(other.dmin, self.dmin),
            ls: pick(other.ls, self.ls),
            lm: pick(other.lm, self.lm),
            cost: pick(other.cost, self.cost),
        }
    }
}

impl<V: Wide, W: Weights<V>, const N: usize, const TOP: u8> Group<V, W, N, TOP, false> {
    /// The best scale and minimum codes for codes of the weights that `m` sums, near a scale.
    #[inline(always)]
    fn round_scales<const TOP_SCALE: u8>(&self, m: &Moments<V>, near: V, d: V, dmin: V) -> Grid<V> {
        let isa = d.proof();
        let (zero, top) = (V::splat(isa, 0.0), V::splat(isa, f32::from(TOP_SCALE)));
        let (inverse_d, inverse_dmin) = (d.recip_or_zero(), dmin.recip_or_zero());
        let ls_near = (near * inverse_d).clamp(zero, top).round();
        let inverse_w = V::splat(isa, 1.0) / self.sum_w;
        let mut grid = Grid { d, dmin, ..Grid::none(isa) };
        for by in [0.0, -1.0, 1.0] {
            let ls = (ls_near + V::splat(isa, by)).clamp(zero, top);
            let min = (ls * d).mul_add(m.q, zero - self.sum_x) * inverse_w - self.low;
            let lm = (min * inverse_dmin).clamp(zero, top).round();
            let cost = self.cost(m, ls * d, lm.mul_add(dmin, self.low));
            grid.ls = cost.less_then_else(grid.cost, ls, grid.ls);
            grid.lm = cost.less_then_else(grid.cost, lm, grid.lm);
            grid.cost = cost.min(grid.cost);
        }
        grid.cost = grid.cost.sum_runs(SUPER_LEN / N);
        grid
    }

    /// The grid with the cost of the codes it leads to.
    #[inline(always)]
    fn recoded(&self, grid: Grid<V>) -> Grid<V> {
        let m = self.moments(grid.base(self), grid.scale().recip_or_zero());
        let cost = self.cost(&m, grid.scale(), grid.base(self)).sum_runs(SUPER_LEN / N);
        Grid { cost, ..grid }
    }

    /// Step 3: a better grid for the codes that one leads to.
    #[inline(always)]
    fn refitted<const TOP_SCALE: u8>(&self, grid: &Grid<V>) -> Grid<V> {
        let m = self.moments(grid.base(self), grid.scale().recip_or_zero());
        let (d, dmin) = self.fit_halves(&m, grid);
        self.round_scales::<TOP_SCALE>(&m, grid.scale(), d, dmin)
    }

    /// `d` and `dmin` by least squares for the codes that `m` sums, rounded to f16.
    #[inline(always)]
    fn fit_halves(&self, m: &Moments<V>, grid: &Grid<V>) -> (V, V) {
        let isa = self.low.proof();
        let subs = SUPER_LEN / N;
        // Of the weights themselves.
        let (xq, x1) = (self.low.mul_add(m.q, m.xq), self.low.mul_add(self.sum_w, self.sum_x));
        let aa = (grid.ls * grid.ls * m.qq).sum_runs(subs);
        let ab = (grid.ls * grid.lm * m.q).sum_runs(subs);
        let bb = (grid.lm * grid.lm * self.sum_w).sum_runs(subs);
        let ax = (grid.ls * xq).sum_runs(subs);
        let bx = (grid.lm * x1).sum_runs(subs);
        let determinant = aa * bb - ab * ab;
        // Nearly parallel: the two cannot be told apart, so each is fitted with the other kept.
        let solvable = V::splat(isa, 1e-4) * aa * bb;
        let inverse = determinant.max(V::splat(isa, 0.0)).recip_or_zero();
        let d = (ax + ab * grid.dmin) * aa.recip_or_zero();
        let dmin = (ab * grid.d - bx) * bb.recip_or_zero();
        let d = solvable.less_then_else(determinant, (ax * bb - bx * ab) * inverse, d);
        let dmin = solvable.less_then_else(determinant, (ax * ab - bx * aa) * inverse, dmin);
        (round_halves(d.max(V::splat(isa, 0.0))), round_halves(dmin.max(V::splat(isa, 0.0))))
    }

    /// Step 4: the best of the neighbours of every scale and minimum.
    #[inline(always)]
    fn beside<const TOP_SCALE: u8>(&self, grid: &Grid<V>) -> Grid<V> {
        let isa = self.low.proof();
        let (zero, top) = (V::splat(isa, 0.0), V::splat(isa, f32::from(TOP_SCALE)));
        let mut best = Grid { cost: V::splat(isa, f32::INFINITY), ..*grid };
        for by in [0.0, -1.0, 1.0] {
            let ls = (grid.ls + V::splat(isa, by)).clamp(zero, top);
            let scale = ls * grid.d;
            let inverse = scale.recip_or_zero();
            for by in [0.0, -1.0, 1.0] {
                let lm = (grid.lm + V::splat(isa, by)).clamp(zero, top);
                let error = self.error(scale, inverse, lm.mul_add(grid.dmin, self.low));
                best.ls = error.less_then_else(best.cost, ls, best.ls);
                best.lm = error.less_then_else(best.cost, lm, best.lm);
                best.cost = error.min(best.cost);
            }
        }
        best
    }
}
