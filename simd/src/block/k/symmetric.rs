//! The search behind the encoders of the K types without minima.
//!
//! A weight is coded as `x ~ d * ls * q`: codes `q` in `LOW..=HIGH`, a signed scale `ls` in
//! `SCALE_LOW..=SCALE_HIGH` per sub-block of 16 and a half `d` per super-block. The search minimises
//! `sum w (x - coded)^2`, with `w` the importance of the column, or 1:
//!
//! 1. each sub-block alone: for several ranges of values to spread the codes over, round, and fit the
//!    scale to the codes by least squares;
//! 2. the super-block: from several `d`, round the scales to their grid, trying the neighbours with the
//!    error they really have;
//! 3. the best of these: fit `d` to its codes by least squares, round it to f16, repeat 2 from there,
//!    and keep what is better.
//!
//! A lane is a sub-block: the sixteen of a super-block are searched side by side.

use crate::array;
use crate::block::k::lanes::{LANES, Lanes};
use crate::block::k::{SUPER_LEN, error_weights, normal_unit, round_to_half, usable};

const SUB_LEN: usize = 16;

/// The ranges tried in step 1: how far the code of the value of largest magnitude lies, as a real, below
/// `LOW`, or above `HIGH`.
const BEYOND_LOW: [f32; 7] = [0.0, -0.4, -0.8, -1.2, 0.4, 0.8, 1.2];
const BEYOND_HIGH: [f32; 5] = [0.0, 0.4, -0.4, -0.8, 0.8];

/// A later range must gain more than this share over an earlier one, so that rounding errors do not
/// choose between ranges that are equally good.
const MARGIN: f32 = 1e-6;

/// The scale codes tried in step 2 for the scale of largest magnitude: how far above `SCALE_LOW`, and how
/// far below `SCALE_HIGH`.
const ABOVE_LOW: [f32; 4] = [0.0, 2.0, 4.0, 6.0];
const BELOW_HIGH: [f32; 2] = [0.0, 2.0];

/// How often step 3 is done.
const ROUNDS: usize = 2;

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

/// Encodes a row of whole super-blocks with codes `LOW..=HIGH` and scales `SCALE_LOW..=SCALE_HIGH`, both
/// with more room below zero than above; `write` fills a block of the type. `write` must always be inlined.
#[inline(always)]
pub(crate) fn encode<
    V: Lanes,
    const LOW: i8,
    const HIGH: i8,
    const SCALE_LOW: i8,
    const SCALE_HIGH: i8,
    const BYTES: usize,
>(
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    write: impl Fn(&mut [u8; BYTES], &SuperBlock),
) {
    let rows = row.as_chunks::<SUPER_LEN>().0;
    for (i, (row, block)) in rows.iter().zip(out.as_chunks_mut::<BYTES>().0).enumerate() {
        let importance = importance.and_then(|all| all.as_chunks::<SUPER_LEN>().0.get(i));
        write(block, &Group::<V, LOW, HIGH, SCALE_LOW, SCALE_HIGH>::load(row, importance).search());
    }
}

/// The best scale so far, by sub-block, and what it gains: `sum w x^2` less the weighted error.
struct Best<V> {
    scale: V,
    gain: V,
}

/// Scales on the grid of `d`, with the error they give.
#[derive(Clone, Copy)]
struct Grid<V> {
    d: f32,
    ls: V,
    error: f32,
}

impl<V: Lanes> Grid<V> {
    /// Worse than any other.
    #[inline(always)]
    fn none() -> Self {
        Self { d: 0.0, ls: V::splat(0.0), error: f32::INFINITY }
    }

    /// The better of both.
    #[inline(always)]
    fn better(self, other: Self) -> Self {
        if other.error < self.error { other } else { self }
    }
}

/// Sixteen sub-blocks, transposed: element `i` of all of them lies side by side.
struct Group<V, const LOW: i8, const HIGH: i8, const SCALE_LOW: i8, const SCALE_HIGH: i8> {
    x: [V; SUB_LEN],
    w: [V; SUB_LEN],
    /// The power of two that divided the values.
    unit: f32,
}

impl<V: Lanes, const LOW: i8, const HIGH: i8, const SCALE_LOW: i8, const SCALE_HIGH: i8>
    Group<V, LOW, HIGH, SCALE_LOW, SCALE_HIGH>
{
    #[inline(always)]
    fn load(row: &[f32; SUPER_LEN], importance: Option<&[f32; SUPER_LEN]>) -> Self {
        let unit = normal_unit(row);
        let weights = error_weights(importance);
        let (mut x, mut w) = ([[0.0; LANES]; SUB_LEN], [[0.0; LANES]; SUB_LEN]);
        for j in 0..LANES {
            for i in 0..SUB_LEN {
                x[i][j] = usable(row[SUB_LEN * j + i]) / unit;
                w[i][j] = weights[SUB_LEN * j + i];
            }
        }
        Self { x: x.each_ref().map(V::load), w: w.each_ref().map(V::load), unit }
    }

    #[inline(always)]
    fn search(&self) -> SuperBlock {
        let fit = self.fit_sub_blocks();
        let largest = fit.store().into_iter().fold(0.0f32, |a, b| if b.abs() > a.abs() { b } else { a });
        let mut best = Grid::none();
        for above in ABOVE_LOW {
            let code = f32::from(SCALE_LOW) + above;
            best = best.better(self.round_scales(fit, self.round_half(largest / code)));
        }
        for below in BELOW_HIGH {
            let code = f32::from(SCALE_HIGH) - below;
            best = best.better(self.round_scales(fit, self.round_half(largest / code)));
        }
        for _ in 0..ROUNDS {
            let near = best.ls * V::splat(best.d);
            best = best.better(self.round_scales(near, self.fit_half(&best)));
        }
        self.finish(&best)
    }

    /// Step 1: the best scale of each sub-block on its own.
    #[inline(always)]
    fn fit_sub_blocks(&self) -> V {
        let (mut low, mut high) = (V::splat(0.0), V::splat(0.0));
        for &x in &self.x {
            low = low.min(x);
            high = high.max(x);
        }
        let extreme = high.less_then_else(V::splat(0.0) - low, low, high);
        let inverse = extreme.recip_or_zero();
        let mut best = Best { scale: V::splat(0.0), gain: V::splat(0.0) };
        for beyond in BEYOND_LOW {
            self.offer_range(&mut best, inverse * V::splat(f32::from(LOW) - beyond));
        }
        for beyond in BEYOND_HIGH {
            self.offer_range(&mut best, inverse * V::splat(f32::from(HIGH) + beyond));
        }
        best.scale
    }

    /// Rounds to codes with `inverse`, fits a scale to them, and takes it in the lanes where it gains.
    #[inline(always)]
    fn offer_range(&self, best: &mut Best<V>, inverse: V) {
        let (mut sum_qq, mut sum_xq) = (V::splat(0.0), V::splat(0.0));
        for (&x, &w) in self.x.iter().zip(&self.w) {
            let q = Self::code(x, inverse);
            let wq = w * q;
            sum_qq = sum_qq + wq * q;
            sum_xq = sum_xq + wq * x;
        }
        let scale = sum_xq * sum_qq.recip_or_zero();
        let gain = scale * sum_xq;
        let enough = best.gain + V::splat(MARGIN) * best.gain;
        best.scale = enough.less_then_else(gain, scale, best.scale);
        best.gain = enough.less_then_else(gain, gain, best.gain);
    }

    /// The code of a value.
    #[inline(always)]
    fn code(x: V, inverse: V) -> V {
        (x * inverse).max(V::splat(f32::from(LOW))).min(V::splat(f32::from(HIGH))).round()
    }

    /// Step 2: the best scale codes near `near`, for the given `d`.
    #[inline(always)]
    fn round_scales(&self, near: V, d: f32) -> Grid<V> {
        let (bottom, top) = (V::splat(f32::from(SCALE_LOW)), V::splat(f32::from(SCALE_HIGH)));
        let d_lanes = V::splat(d);
        let ls_near = (near * d_lanes.recip_or_zero()).max(bottom).min(top).round();
        let (mut best, mut best_error) = (V::splat(0.0), V::splat(f32::INFINITY));
        for by in [0.0, -1.0, 1.0, -2.0, 2.0] {
            let ls = (ls_near + V::splat(by)).max(bottom).min(top);
            let scale = ls * d_lanes;
            let inverse = scale.recip_or_zero();
            let mut error = V::splat(0.0);
            for (&x, &w) in self.x.iter().zip(&self.w) {
                let off = Self::code(x, inverse) * scale - x;
                error = error + w * (off * off);
            }
            best = error.less_then_else(best_error, ls, best);
            best_error = error.min(best_error);
        }
        Grid { d, ls: best, error: best_error.sum() }
    }

    /// Step 3: `d` by least squares for the codes of `grid`, rounded to f16.
    #[inline(always)]
    fn fit_half(&self, grid: &Grid<V>) -> f32 {
        let inverse = (grid.ls * V::splat(grid.d)).recip_or_zero();
        let (mut qq, mut xq) = (V::splat(0.0), V::splat(0.0));
        for (&x, &w) in self.x.iter().zip(&self.w) {
            let q = Self::code(x, inverse);
            let wq = w * q;
            qq = qq + wq * q;
            xq = xq + wq * x;
        }
        let (aa, ax) = ((grid.ls * grid.ls * qq).sum(), (grid.ls * xq).sum());
        if aa > 0.0 { self.round_half(ax / aa) } else { grid.d }
    }

    /// Rounds `d` to f16.
    #[inline(always)]
    fn round_half(&self, d: f32) -> f32 {
        round_to_half(d * self.unit).1 / self.unit
    }

    /// Computes the codes of the chosen grid.
    #[inline(always)]
    fn finish(&self, grid: &Grid<V>) -> SuperBlock {
        let inverse = (grid.ls * V::splat(grid.d)).recip_or_zero();
        let mut codes = [0; SUPER_LEN];
        for (i, &x) in self.x.iter().enumerate() {
            let q = (Self::code(x, inverse) - V::splat(f32::from(LOW))).store();
            for (l, code) in q.into_iter().enumerate() {
                codes[SUB_LEN * l + i] = code as u8;
            }
        }
        let scales = array::map(&grid.ls.store(), |ls| ls as i8);
        SuperBlock { d: round_to_half(grid.d * self.unit).0, scales, codes }
    }
}
