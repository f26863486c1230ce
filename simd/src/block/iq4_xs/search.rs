//! The search behind the encoder of IQ4_XS.
//!
//! A weight is coded as `x ~ d * ls * T[q]` with a scale `ls` in `-32..=31` per sub-block and a half `d` per
//! super-block. The search minimises `sum w (x - coded)^2`, with `w` the importance of the column, or 1:
//!
//! 1. each sub-block alone: its best real scale, see [`crate::block::table_search`];
//! 2. the super-block: from several `d`, round the scales to the 6-bit grid, trying their neighbours
//!    with the error they really have;
//! 3. the best of these: fit `d` to its codes by least squares, round it to f16, repeat 2 from there,
//!    and keep what is better.
//!
//! A lane is a sub-block: two super-blocks are searched side by side.

use super::{BLOCK_BYTES, scales};
use crate::block::k::{SUPER_LEN, error_weights, normal_unit, round_to_half};
use crate::block::table_search::{codes, errors, fit, moments};
use crate::block::transposed::{LEN, Transposed};
use crate::block::windows::pack_nibbles;
use crate::wide::{LANES, Wide};

/// The scale codes tried in step 2 for the scale of largest magnitude.
const LARGEST_CODES: [f32; 5] = [-32.0, 31.0, -31.0, -30.0, 29.5];

/// How often step 3 is done.
const ROUNDS: usize = 2;

/// Sub-blocks in a super-block.
const SUBS: usize = 8;

/// Encodes a row, two super-blocks at a time.
#[inline(always)]
pub(super) fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let pairs = row.chunks(2 * SUPER_LEN).zip(out.chunks_mut(2 * BLOCK_BYTES));
    for (i, (row, out)) in pairs.enumerate() {
        let importance = importance.map(|all| &all[2 * SUPER_LEN * i..][..row.len()]);
        let pair = Pair::<V>::load(isa, row, importance);
        let grid = pair.search();
        let codes = codes(&pair.group, grid.ls * grid.d);
        let (ls, halves) = (grid.ls.store(), pair.halves(grid.d));
        for (k, block) in out.as_chunks_mut::<BLOCK_BYTES>().0.iter_mut().enumerate() {
            let (mut raised, (head, qs)) = ([0; SUBS], block.split_at_mut(8));
            for (j, qs) in qs.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                raised[j] = (ls[SUBS * k + j] + 32.0) as u8;
                pack_nibbles(&codes[SUBS * k + j], qs);
            }
            head[..2].copy_from_slice(&halves[k].0);
            head[2..].copy_from_slice(&scales::pack(&raised));
        }
    }
}

/// Scales on the 6-bit grid of `d`, with the errors they give; `d` and errors are those of the
/// super-block in each of its lanes.
#[derive(Clone, Copy)]
struct Grid<V> {
    d: V,
    ls: V,
    errors: V,
}

impl<V: Wide> Grid<V> {
    /// The better of both, for each super-block.
    #[inline(always)]
    fn better(self, other: Self) -> Self {
        let select = |theirs, own| other.errors.less_then_else(self.errors, theirs, own);
        Self {
            d: select(other.d, self.d),
            ls: select(other.ls, self.ls),
            errors: other.errors.min(self.errors),
        }
    }
}

/// Two super-blocks, or one and zeros.
struct Pair<V> {
    group: Transposed<V>,
}

impl<V: Wide> Pair<V> {
    #[inline(always)]
    fn load(isa: V::Proof, row: &[f32], importance: Option<&[f32]>) -> Self {
        let (mut units, mut weights) = ([1.0; LANES], [[1.0; LEN]; LANES]);
        for (k, row) in row.as_chunks::<SUPER_LEN>().0.iter().enumerate() {
            units[SUBS * k..][..SUBS].fill(normal_unit(row));
            let importance = importance.and_then(|all| all.as_chunks::<SUPER_LEN>().0.get(k));
            weights[SUBS * k..][..SUBS].copy_from_slice(error_weights(importance).as_chunks::<LEN>().0);
        }
        Self { group: Transposed::new(isa, row.as_chunks::<LEN>().0, units, &weights) }
    }

    #[inline(always)]
    fn search(&self) -> Grid<V> {
        let isa = self.group.x[0].proof();
        let (fit, zero) = (fit(&self.group), V::splat(isa, 0.0));
        let (low, high) = ((zero - fit).max_runs(SUBS), fit.max_runs(SUBS));
        let extreme = high.less_then_else(low, zero - low, high);
        let mut best =
            self.round_scales(fit, self.round_half(extreme * V::splat(isa, 1.0 / LARGEST_CODES[0])));
        for code in &LARGEST_CODES[1..] {
            best = best.better(self.round_scales(fit, self.round_half(extreme * V::splat(isa, 1.0 / code))));
        }
        for _ in 0..ROUNDS {
            best = best.better(self.round_scales(best.ls * best.d, self.fit_half(&best)));
        }
        best
    }

    /// Step 2: the best scale codes near `near`, for the given `d`.
    #[inline(always)]
    fn round_scales(&self, near: V, d: V) -> Grid<V> {
        let isa = d.proof();
        let (bottom, top) = (V::splat(isa, -32.0), V::splat(isa, 31.0));
        let nearest = (near * d.recip_or_zero()).max(bottom).min(top).round();
        let (mut best, mut best_errors) = (nearest, errors(&self.group, nearest * d));
        for by in [-1.0, 1.0] {
            let ls = (nearest + V::splat(isa, by)).max(bottom).min(top);
            let errors = errors(&self.group, ls * d);
            best = errors.less_then_else(best_errors, ls, best);
            best_errors = errors.min(best_errors);
        }
        Grid { d, ls: best, errors: best_errors.sum_runs(SUBS) }
    }

    /// Step 3: `d` by least squares for the codes of `grid`, rounded to f16.
    #[inline(always)]
    fn fit_half(&self, grid: &Grid<V>) -> V {
        let (sum_qq, sum_xq) = moments(&self.group, (grid.ls * grid.d).recip_or_zero());
        let aa = (grid.ls * grid.ls * sum_qq).sum_runs(SUBS);
        let ax = (grid.ls * sum_xq).sum_runs(SUBS);
        self.round_half(ax * aa.recip_or_zero())
    }

    /// The halves nearest to the `d` of both super-blocks.
    #[inline(always)]
    fn halves(&self, d: V) -> [([u8; 2], f32); 2] {
        let [first, second] = d.halves();
        [round_to_half(first * self.group.units[0]), round_to_half(second * self.group.units[SUBS])]
    }

    /// Rounds the `d` of both super-blocks to f16.
    #[inline(always)]
    fn round_half(&self, d: V) -> V {
        let isa = d.proof();
        let [(_, first), (_, second)] = self.halves(d);
        V::from_halves(isa, [first / self.group.units[0], second / self.group.units[SUBS]])
    }
}
