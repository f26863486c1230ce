//! The search behind the encoders of the K types with minima.
//!
//! A weight is coded as `x ~ d * ls * q - dmin * lm`: codes `q` in `0..=TOP`, a scale `ls` and a minimum
//! `lm` in `0..=TOP_SCALE` per sub-block of `SUB_LEN` (32 or 16) weights, halves `d` and `dmin` per
//! super-block. The search minimises `sum w (x - coded)^2`, with `w` the importance of the column, or 1:
//!
//! 1. each sub-block alone: for several ranges of values to spread the codes over, round, and fit scale
//!    and minimum to the codes by least squares;
//! 2. each super-block: from several `d`, round scales and minima to their grid, trying the neighbours
//!    of every pair with the error they really have;
//! 3. the best of these: fit `(d, dmin)` to its codes by least squares, round them to f16, repeat 2 from
//!    there, and keep what is better.
//!
//! A lane is a sub-block, so sixteen of them, one super-block or two, are searched side by side without
//! a horizontal sum. The values are divided by a power of two per super-block first; only the rounding of
//! `d` and `dmin` to f16 sees true magnitudes.

use crate::array;
use crate::block::k::lanes::{LANES, Lanes};
use crate::block::k::{SUPER_LEN, error_weights, normal_unit, round_to_half, usable};

/// The ranges tried in step 1: how many code steps the ends move inwards from minimum and maximum.
/// Chosen one by one, each the best addition to those before, on weights of a model, on Student-t rows
/// and on rows far from zero; more of them gain less than 0.1 % each.
const RANGES: [(f32, f32); 12] = [
    (0.0, 0.0),
    (-0.4, 0.4),
    (0.4, -0.4),
    (0.8, 0.8),
    (1.2, 0.4),
    (0.0, 1.2),
    (-0.4, 0.0),
    (0.4, 0.0),
    (1.6, 0.0),
    (0.4, 0.8),
    (0.0, 2.2),
    (0.0, -0.4),
];

/// A later range must gain more than this share over an earlier one, so that rounding errors do not
/// choose between ranges that are equally good.
const MARGIN: f32 = 1e-6;

/// How far below the top the codes are that step 2 tries for the largest scale and the largest minimum of
/// a super-block.
const BELOW_TOP: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

/// How often step 3 is done.
const ROUNDS: usize = 2;

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

/// Encodes a row of whole super-blocks, with sub-blocks of `SUB_LEN` weights (16 or 32), codes `0..=TOP`,
/// and scales and minima `0..=TOP_SCALE`; `write` fills a block of the type. `write` must always be inlined.
#[inline(always)]
pub(crate) fn encode<
    V: Lanes,
    const SUB_LEN: usize,
    const TOP: u8,
    const TOP_SCALE: u8,
    const BYTES: usize,
>(
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    write: impl Fn(&mut [u8; BYTES], &SuperBlock<'_>),
) {
    let group_len = LANES * SUB_LEN;
    let (subs, supers) = (SUPER_LEN / SUB_LEN, group_len / SUPER_LEN);
    let groups = row.chunks(group_len).zip(out.chunks_mut(supers * BYTES));
    for (g, (row, out)) in groups.enumerate() {
        let importance = importance.map(|all| &all[group_len * g..][..row.len()]);
        let found = Group::<V, SUB_LEN, TOP, TOP_SCALE>::load(row, importance).search();
        for (h, block) in out.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
            let codes = found.codes.as_flattened().as_chunks::<SUPER_LEN>().0;
            let (scales, minima) = (&found.scales[subs * h..][..subs], &found.minima[subs * h..][..subs]);
            let (d, dmin) = (found.d[h], found.dmin[h]);
            write(block, &SuperBlock { d, dmin, scales, minima, codes: &codes[h] });
        }
    }
}

/// An encoded group; what belongs to a second super-block means nothing if there was none.
struct Found<const SUB_LEN: usize> {
    d: [[u8; 2]; 2],
    dmin: [[u8; 2]; 2],
    scales: [u8; LANES],
    minima: [u8; LANES],
    codes: [[u8; SUB_LEN]; LANES],
}

/// Scale and minimum of each sub-block, as reals.
#[derive(Clone, Copy)]
struct Fit<V> {
    scale: V,
    min: V,
}

/// The best fit so far, by sub-block.
struct Best<V> {
    fit: Fit<V>,
    gain: V,
}

impl<V: Lanes> Best<V> {
    #[inline(always)]
    fn none() -> Self {
        let zero = V::splat(0.0);
        Self { fit: Fit { scale: zero, min: zero }, gain: V::splat(f32::NEG_INFINITY) }
    }

    /// Takes a fit over in the lanes where it gains enough.
    #[inline(always)]
    fn offer(&mut self, (fit, gain): (Fit<V>, V)) {
        let enough = self.gain + V::splat(MARGIN) * self.gain.max(V::splat(0.0));
        self.fit.scale = enough.less_then_else(gain, fit.scale, self.fit.scale);
        self.fit.min = enough.less_then_else(gain, fit.min, self.fit.min);
        self.gain = enough.less_then_else(gain, gain, self.gain);
    }
}

/// Scales and minima on the grid of `d` and `dmin`, with the error they give.
#[derive(Clone, Copy)]
struct Grid<V> {
    d: V,
    dmin: V,
    ls: V,
    lm: V,
    /// Error of the whole super-block, in each of its lanes.
    error: V,
}

impl<V: Lanes> Grid<V> {
    /// Worse than any other.
    #[inline(always)]
    fn none() -> Self {
        let zero = V::splat(0.0);
        Self { d: zero, dmin: zero, ls: zero, lm: zero, error: V::splat(f32::INFINITY) }
    }

    /// The better of both, by super-block.
    #[inline(always)]
    fn better(self, other: Self) -> Self {
        let pick = |new, old| other.error.less_then_else(self.error, new, old);
        Self {
            d: pick(other.d, self.d),
            dmin: pick(other.dmin, self.dmin),
            ls: pick(other.ls, self.ls),
            lm: pick(other.lm, self.lm),
            error: pick(other.error, self.error),
        }
    }
}

/// Sixteen sub-blocks, transposed: element `i` of all of them lies side by side.
struct Group<V, const SUB_LEN: usize, const TOP: u8, const TOP_SCALE: u8> {
    x: [V; SUB_LEN],
    w: [V; SUB_LEN],
    /// The power of two that divided each half of the lanes: a super-block, or half of one.
    unit: [f32; 2],
}

impl<V: Lanes, const SUB_LEN: usize, const TOP: u8, const TOP_SCALE: u8> Group<V, SUB_LEN, TOP, TOP_SCALE> {
    /// Sub-blocks in a super-block.
    const SUBS: usize = SUPER_LEN / SUB_LEN;

    #[inline(always)]
    fn load(row: &[f32], importance: Option<&[f32]>) -> Self {
        let mut x = [[0.0; LANES]; SUB_LEN];
        let mut w = [[1.0; LANES]; SUB_LEN];
        let mut unit = [1.0; 2];
        for (h, row) in row.as_chunks::<SUPER_LEN>().0.iter().enumerate() {
            unit[h..].fill(normal_unit(row));
            let weights = error_weights(importance.map(|all| &all.as_chunks().0[h]));
            for j in 0..Self::SUBS {
                for i in 0..SUB_LEN {
                    x[i][Self::SUBS * h + j] = usable(row[SUB_LEN * j + i]) / unit[h];
                    w[i][Self::SUBS * h + j] = weights[SUB_LEN * j + i];
                }
            }
        }
        Self { x: x.each_ref().map(V::load), w: w.each_ref().map(V::load), unit }
    }

    #[inline(always)]
    fn search(&self) -> Found<SUB_LEN> {
        let fit = self.fit_sub_blocks();
        let (scale, min) = (fit.scale.max_runs(Self::SUBS), fit.min.max_runs(Self::SUBS));
        let mut best = Grid::none();
        for below in BELOW_TOP {
            let code = V::splat(f32::from(TOP_SCALE) - below);
            best = best.better(self.round_scales(fit, self.round_halves(scale / code, min / code)));
        }
        for _ in 0..ROUNDS {
            let near = Fit { scale: best.ls * best.d, min: best.lm * best.dmin };
            best = best.better(self.round_scales(near, self.fit_halves(&best)));
        }
        self.finish(&best)
    }

    /// Step 1: the best scale and minimum of each sub-block on its own.
    #[inline(always)]
    fn fit_sub_blocks(&self) -> Fit<V> {
        let (mut low, mut high) = (V::splat(0.0), self.x[0]);
        let (mut sum_w, mut sum_x) = (V::splat(0.0), V::splat(0.0));
        for (&x, &w) in self.x.iter().zip(&self.w) {
            low = low.min(x);
            high = high.max(x);
            sum_w = sum_w + w;
            sum_x = sum_x + w * x;
        }
        let step = (high - low) / V::splat(f32::from(TOP));
        let mut best = Best::<V>::none();
        let top = f32::from(TOP);
        for (inwards_low, inwards_high) in RANGES {
            let from = low + step * V::splat(inwards_low);
            let width = step * V::splat((top - inwards_low - inwards_high) / top);
            best.offer(self.fit_range(from, width.recip_or_zero(), sum_w, sum_x));
        }
        // And once more with the codes that the best fit itself leads to.
        let from = V::splat(0.0) - best.fit.min;
        best.offer(self.fit_range(from, best.fit.scale.recip_or_zero(), sum_w, sum_x));
        best.fit
    }

    /// Rounds the codes of a range that starts at `from`, and fits scale and minimum to them. Returns
    /// also the gain: `sum w x^2` less the weighted error.
    #[inline(always)]
    fn fit_range(&self, from: V, inverse: V, sum_w: V, sum_x: V) -> (Fit<V>, V) {
        let (mut sum_q, mut sum_qq, mut sum_xq) = (V::splat(0.0), V::splat(0.0), V::splat(0.0));
        for (&x, &w) in self.x.iter().zip(&self.w) {
            let q = Self::code(x - from, inverse);
            let wq = w * q;
            sum_q = sum_q + wq;
            sum_qq = sum_qq + wq * q;
            sum_xq = sum_xq + wq * x;
        }
        let determinant = sum_w * sum_qq - sum_q * sum_q;
        // Codes that hardly differ say nothing about a slope.
        let solvable = V::splat(1e-5) * sum_w * sum_qq;
        let inverse = solvable.less_then_else(determinant, determinant, V::splat(0.0)).recip_or_zero();
        let slope = (sum_w * sum_xq - sum_x * sum_q) * inverse;
        let min = (slope * sum_q - sum_x) / sum_w;
        let through_zero = (sum_xq * sum_qq.recip_or_zero()).max(V::splat(0.0));
        let scale = min.less_then_else(V::splat(0.0), through_zero, slope);
        let min = min.max(V::splat(0.0));
        let two = V::splat(2.0);
        let gain =
            scale * (two * sum_xq + two * min * sum_q - scale * sum_qq) - min * (two * sum_x + min * sum_w);
        (Fit { scale, min }, gain)
    }

    /// The code of a value above the minimum.
    #[inline(always)]
    fn code(above: V, inverse: V) -> V {
        (above * inverse).max(V::splat(0.0)).min(V::splat(f32::from(TOP))).round()
    }

    /// Step 2: the best scale and minimum codes near `near`, for the given `d` and `dmin`.
    #[inline(always)]
    fn round_scales(&self, near: Fit<V>, [d, dmin]: [V; 2]) -> Grid<V> {
        let (zero, top) = (V::splat(0.0), V::splat(f32::from(TOP_SCALE)));
        let ls_near = (near.scale * d.recip_or_zero()).min(top).round();
        let lm_near = (near.min * dmin.recip_or_zero()).min(top).round();
        let beside = |codes: V, by: f32| (codes + V::splat(by)).max(zero).min(top);
        let mut grid = Grid { d, dmin, ..Grid::none() };
        for by in [0.0, -1.0, 1.0] {
            let ls = beside(ls_near, by);
            let scale = ls * d;
            let inverse = scale.recip_or_zero();
            for by in [0.0, -1.0, 1.0] {
                let lm = beside(lm_near, by);
                let error = self.error(scale, inverse, lm * dmin);
                grid.ls = error.less_then_else(grid.error, ls, grid.ls);
                grid.lm = error.less_then_else(grid.error, lm, grid.lm);
                grid.error = error.min(grid.error);
            }
        }
        grid.error = grid.error.sum_runs(Self::SUBS);
        grid
    }

    /// The weighted error of each sub-block.
    #[inline(always)]
    fn error(&self, scale: V, inverse: V, min: V) -> V {
        let mut sum = V::splat(0.0);
        for (&x, &w) in self.x.iter().zip(&self.w) {
            let above = x + min;
            let off = Self::code(above, inverse) * scale - above;
            sum = sum + w * (off * off);
        }
        sum
    }

    /// Step 3: `d` and `dmin` by least squares for the codes of `grid`, rounded to f16.
    #[inline(always)]
    fn fit_halves(&self, grid: &Grid<V>) -> [V; 2] {
        let (mut qq, mut q1, mut xq) = (V::splat(0.0), V::splat(0.0), V::splat(0.0));
        let (mut one, mut x1) = (V::splat(0.0), V::splat(0.0));
        let min = grid.lm * grid.dmin;
        let inverse = (grid.ls * grid.d).recip_or_zero();
        for (&x, &w) in self.x.iter().zip(&self.w) {
            let q = Self::code(x + min, inverse);
            let wq = w * q;
            qq = qq + wq * q;
            q1 = q1 + wq;
            xq = xq + wq * x;
            one = one + w;
            x1 = x1 + w * x;
        }
        let aa = (grid.ls * grid.ls * qq).sum_runs(Self::SUBS);
        let ab = (grid.ls * grid.lm * q1).sum_runs(Self::SUBS);
        let bb = (grid.lm * grid.lm * one).sum_runs(Self::SUBS);
        let ax = (grid.ls * xq).sum_runs(Self::SUBS);
        let bx = (grid.lm * x1).sum_runs(Self::SUBS);
        let determinant = aa * bb - ab * ab;
        // Nearly parallel: the two cannot be told apart, so each is fitted with the other kept.
        let solvable = V::splat(1e-4) * aa * bb;
        let inverse = determinant.max(V::splat(0.0)).recip_or_zero();
        let d = (ax + ab * grid.dmin) * aa.recip_or_zero();
        let dmin = (ab * grid.d - bx) * bb.recip_or_zero();
        let d = solvable.less_then_else(determinant, (ax * bb - bx * ab) * inverse, d);
        let dmin = solvable.less_then_else(determinant, (ax * ab - bx * aa) * inverse, dmin);
        self.round_halves(d.max(V::splat(0.0)), dmin.max(V::splat(0.0)))
    }

    /// Rounds `d` and `dmin` of each super-block to f16.
    #[inline(always)]
    fn round_halves(&self, d: V, dmin: V) -> [V; 2] {
        let units = V::from_halves(self.unit);
        let round = |v: V| {
            let halves = (v * units).halves();
            V::from_halves([round_to_half(halves[0]).1, round_to_half(halves[1]).1]) / units
        };
        [round(d), round(dmin)]
    }

    /// Computes the codes of the chosen grid.
    #[inline(always)]
    fn finish(&self, grid: &Grid<V>) -> Found<SUB_LEN> {
        let min = grid.lm * grid.dmin;
        let inverse = (grid.ls * grid.d).recip_or_zero();
        let mut codes = [[0; SUB_LEN]; LANES];
        for (i, &x) in self.x.iter().enumerate() {
            for (codes, code) in codes.iter_mut().zip(Self::code(x + min, inverse).store()) {
                codes[i] = code as u8;
            }
        }
        let halves = |d: V| {
            let d = (d * V::from_halves(self.unit)).halves();
            [round_to_half(d[0]).0, round_to_half(d[1]).0]
        };
        Found {
            d: halves(grid.d),
            dmin: halves(grid.dmin),
            scales: array::map(&grid.ls.store(), |code| code as u8),
            minima: array::map(&grid.lm.store(), |code| code as u8),
            codes,
        }
    }
}
