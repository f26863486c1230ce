//! The search behind the encoders of Q4_K and Q5_K.
//!
//! A weight is coded as `x ~ d * ls * q - dmin * lm`: codes `q` in `0..=TOP`, a 6-bit scale `ls` and
//! minimum `lm` per sub-block of 32, halves `d` and `dmin` per super-block. The search minimises
//! `sum w (x - coded)^2`, with `w` the importance of the column, or 1:
//!
//! 1. each sub-block alone: for several ranges of values to spread the codes over, round, and fit scale
//!    and minimum to the codes by least squares;
//! 2. each super-block: from several `d`, round scales and minima to the 6-bit grid, trying the
//!    neighbours of every pair with the error they really have;
//! 3. the best of these: fit `(d, dmin)` to its codes by least squares, round them to f16, repeat 2 from
//!    there, and keep what is better.
//!
//! A lane is a sub-block, so sixteen of them, two super-blocks, are searched side by side without a
//! horizontal sum. The values are divided by a power of two per super-block first; only the rounding of
//! `d` and `dmin` to f16 sees true magnitudes.

use crate::block::k::lanes::{LANES, Lanes};
use crate::block::k::{SUPER_LEN, error_weights, normal_unit, round_to_half, usable};

const SUB_LEN: usize = 32;
const SUBS: usize = SUPER_LEN / SUB_LEN;

/// Largest 6-bit scale or minimum.
const TOP_SCALE: f32 = 63.0;

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

/// The codes tried in step 2 for the largest scale and the largest minimum of a super-block.
const LARGEST_CODES: [f32; 6] = [63.0, 62.0, 61.0, 60.0, 59.0, 58.0];

/// How often step 3 is done.
const ROUNDS: usize = 2;

/// What a super-block stores besides its codes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parameters {
    /// `d`, as f16 bits.
    pub(crate) d: [u8; 2],
    /// `dmin`, as f16 bits.
    pub(crate) dmin: [u8; 2],
    /// The 6-bit scales.
    pub(crate) scales: [u8; SUBS],
    /// The 6-bit minima.
    pub(crate) minima: [u8; SUBS],
}

/// Two encoded super-blocks; the second is zeros if only one was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) parameters: [Parameters; 2],
    pub(crate) codes: [[u8; SUPER_LEN]; 2],
}

impl Pair {
    /// Encodes one or two super-blocks (256 or 512 floats, and as many weights) with codes `0..=TOP`.
    #[inline(always)]
    pub(crate) fn search<V: Lanes, const TOP: u8>(row: &[f32], importance: Option<&[f32]>) -> Self {
        let group = Group::<V, TOP>::load(row, importance);
        let fit = group.fit_sub_blocks();
        let largest = [max_of_halves(fit.scale), max_of_halves(fit.min)];
        let mut best = Grid::none();
        for code in LARGEST_CODES {
            let [d, dmin] = largest.map(|values| values.map(|value| value / code));
            best = best.better(group.round_scales(fit, group.round_halves(d, dmin)));
        }
        for _ in 0..ROUNDS {
            let near = Fit { scale: best.ls * best.d, min: best.lm * best.dmin };
            best = best.better(group.round_scales(near, group.fit_halves(&best)));
        }
        group.finish(&best)
    }
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

/// Scales and minima on the 6-bit grid of `d` and `dmin`, with the error they give.
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
struct Group<V, const TOP: u8> {
    x: [V; SUB_LEN],
    w: [V; SUB_LEN],
    /// The power of two that divided each super-block.
    unit: [f32; 2],
}

impl<V: Lanes, const TOP: u8> Group<V, TOP> {
    #[inline(always)]
    fn load(row: &[f32], importance: Option<&[f32]>) -> Self {
        let mut x = [[0.0; LANES]; SUB_LEN];
        let mut w = [[1.0; LANES]; SUB_LEN];
        let mut unit = [1.0; 2];
        for (h, row) in row.as_chunks::<SUPER_LEN>().0.iter().enumerate() {
            unit[h] = normal_unit(row);
            let weights = error_weights(importance.map(|all| &all.as_chunks().0[h]));
            for j in 0..SUBS {
                for i in 0..SUB_LEN {
                    x[i][SUBS * h + j] = usable(row[SUB_LEN * j + i]) / unit[h];
                    w[i][SUBS * h + j] = weights[SUB_LEN * j + i];
                }
            }
        }
        Self { x: x.each_ref().map(V::load), w: w.each_ref().map(V::load), unit }
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
        let (zero, top) = (V::splat(0.0), V::splat(TOP_SCALE));
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
        grid.error = grid.error.sum_halves();
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
        let aa = (grid.ls * grid.ls * qq).sum_halves();
        let ab = (grid.ls * grid.lm * q1).sum_halves();
        let bb = (grid.lm * grid.lm * one).sum_halves();
        let ax = (grid.ls * xq).sum_halves();
        let bx = (grid.lm * x1).sum_halves();
        let determinant = aa * bb - ab * ab;
        // Nearly parallel: the two cannot be told apart, so each is fitted with the other kept.
        let solvable = V::splat(1e-4) * aa * bb;
        let inverse = determinant.max(V::splat(0.0)).recip_or_zero();
        let d = (ax + ab * grid.dmin) * aa.recip_or_zero();
        let dmin = (ab * grid.d - bx) * bb.recip_or_zero();
        let d = solvable.less_then_else(determinant, (ax * bb - bx * ab) * inverse, d);
        let dmin = solvable.less_then_else(determinant, (ax * ab - bx * aa) * inverse, dmin);
        self.round_halves(d.max(V::splat(0.0)).halves(), dmin.max(V::splat(0.0)).halves())
    }

    /// Rounds `d` and `dmin` of both super-blocks to f16.
    #[inline(always)]
    fn round_halves(&self, d: [f32; 2], dmin: [f32; 2]) -> [V; 2] {
        let round =
            |v: [f32; 2]| V::from_halves([0, 1].map(|h| round_to_half(v[h] * self.unit[h]).1 / self.unit[h]));
        [round(d), round(dmin)]
    }

    /// Computes the codes of the chosen grid.
    #[inline(always)]
    fn finish(&self, grid: &Grid<V>) -> Pair {
        let min = grid.lm * grid.dmin;
        let inverse = (grid.ls * grid.d).recip_or_zero();
        let mut pair = Pair { parameters: [Parameters::default(); 2], codes: [[0; SUPER_LEN]; 2] };
        for (i, &x) in self.x.iter().enumerate() {
            let codes = Self::code(x + min, inverse).store();
            for (l, code) in codes.into_iter().enumerate() {
                pair.codes[l / SUBS][SUB_LEN * (l % SUBS) + i] = code as u8;
            }
        }
        let (ls, lm, d, dmin) = (grid.ls.store(), grid.lm.store(), grid.d.halves(), grid.dmin.halves());
        for (h, parameters) in pair.parameters.iter_mut().enumerate() {
            for j in 0..SUBS {
                parameters.scales[j] = ls[SUBS * h + j] as u8;
                parameters.minima[j] = lm[SUBS * h + j] as u8;
            }
            parameters.d = round_to_half(d[h] * self.unit[h]).0;
            parameters.dmin = round_to_half(dmin[h] * self.unit[h]).0;
        }
        pair
    }
}

/// The largest of lanes 0..8 and of lanes 8..16, at least zero.
#[inline(always)]
fn max_of_halves<V: Lanes>(lanes: V) -> [f32; 2] {
    let lanes = lanes.store();
    [0, 8].map(|first| lanes[first..first + 8].iter().fold(0.0, |a, &b| if b > a { b } else { a }))
}
