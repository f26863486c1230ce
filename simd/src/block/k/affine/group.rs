//! Runs of weights coded with a scale and a base: what the searches over them are made of.
//!
//! With the codes fixed the error is a quadratic function of scale and base, known from a few moments.

use crate::array;
use crate::wide::columns::{Columns, Weights};
use crate::wide::{LANES, Wide};

/// The ranges [`Group::fit`] tries: by how many code steps each end moves inwards from the smallest and the
/// largest value, all with all. Ranges wider than the values and far apart find more than close ones.
const INWARDS: [f32; 4] = [0.3, -0.3, -0.9, 0.9];

/// A later range must gain more than this share over an earlier one, so that rounding errors do not
/// choose between ranges that are equally good.
const MARGIN: f32 = 1e-6;

/// Scale and base of each run, as reals: `x + base ~ scale * q`.
#[derive(Clone, Copy)]
pub(crate) struct Fit<V> {
    pub(crate) scale: V,
    pub(crate) base: V,
}

/// The best fit of each run so far, the moments of its codes, and by what it lowers the error.
struct Best<V> {
    fit: Fit<V>,
    moments: Moments<V>,
    gain: V,
}

/// `sum wq`, `sum wqq` and `sum wqx` for some codes `q`.
#[derive(Clone, Copy)]
pub(crate) struct Moments<V> {
    pub(crate) q: V,
    pub(crate) qq: V,
    pub(crate) xq: V,
}

/// Sixteen runs of `N` weights, coded as `x ~ scale * q - base`. Unless `FREE`, a run's minimum is at most
/// zero and so is the value of code zero.
pub(crate) struct Group<V, W, const N: usize, const TOP: u8, const FREE: bool> {
    /// The weights, less `low`.
    columns: Columns<V, N>,
    weights: W,
    /// The smallest value of each run, or zero.
    pub(crate) low: V,
    /// From there to the largest value.
    pub(crate) range: V,
    pub(super) sum_w: V,
    /// `sum wx`, of the columns.
    pub(super) sum_x: V,
}

impl<V: Wide, W: Weights<V>, const N: usize, const TOP: u8, const FREE: bool> Group<V, W, N, TOP, FREE> {
    /// Up to sixteen runs, which have their importance scaled `together` (1, 8 or 16 at a time).
    #[inline(always)]
    pub(crate) fn load(isa: V::Proof, row: &[f32], importance: &[f32], together: usize) -> Self {
        let (mut columns, weights) = (Columns::load(isa, row), W::load(isa, importance, together));
        let mut low = if FREE { columns.x[0] } else { V::splat(isa, 0.0) };
        let mut high = columns.x[0];
        for &x in &columns.x {
            low = low.min(x);
            high = high.max(x);
        }
        let (mut sum_w, mut sum_x) = (V::splat(isa, 0.0), V::splat(isa, 0.0));
        for (i, x) in columns.x.iter_mut().enumerate() {
            *x = *x - low;
            sum_w = sum_w + weights.times(i, V::splat(isa, 1.0));
            sum_x = sum_x + weights.times(i, *x);
        }
        Self { columns, weights, low, range: (high - low).max(V::splat(isa, 0.0)), sum_w, sum_x }
    }

    /// The best scale and base of each run on its own, and the moments of the codes they fit.
    #[inline(always)]
    pub(crate) fn fit(&self) -> (Fit<V>, Moments<V>) {
        let isa = self.low.proof();
        let zero = V::splat(isa, 0.0);
        let top = f32::from(TOP);
        let step = self.range * V::splat(isa, 1.0 / top);
        let unit = step.recip_or_zero();
        let nothing = Moments { q: zero, qq: zero, xq: zero };
        let fit = Fit { scale: zero, base: zero };
        let mut best = Best { fit, moments: nothing, gain: V::splat(isa, f32::NEG_INFINITY) };
        for low in INWARDS {
            for high in INWARDS {
                self.offer(
                    &mut best,
                    step * V::splat(isa, -low),
                    unit * V::splat(isa, top / (top - low - high)),
                );
            }
        }
        // And once more with the codes that the best fit itself leads to.
        let Fit { scale, base } = best.fit;
        self.offer(&mut best, base, scale.recip_or_zero());
        (best.fit, best.moments)
    }

    /// Rounds to codes, fits to them, and takes the fit over in the lanes where it gains enough.
    #[inline(always)]
    fn offer(&self, best: &mut Best<V>, base: V, inverse: V) {
        let isa = self.low.proof();
        let m = self.moments(base, inverse);
        let (fit, gain) = self.fit_moments(&m);
        let enough = best.gain + V::splat(isa, MARGIN) * best.gain.max(V::splat(isa, 0.0));
        let pick = |new, old| enough.less_then_else(gain, new, old);
        let old = &best.moments;
        best.fit = Fit { scale: pick(fit.scale, best.fit.scale), base: pick(fit.base, best.fit.base) };
        best.moments = Moments { q: pick(m.q, old.q), qq: pick(m.qq, old.qq), xq: pick(m.xq, old.xq) };
        best.gain = pick(gain, best.gain);
    }

    /// The sums over the codes that a base and the inverse of a scale lead to.
    #[inline(always)]
    pub(super) fn moments(&self, base: V, inverse: V) -> Moments<V> {
        let isa = self.low.proof();
        let zeros = [V::splat(isa, 0.0); 2];
        let (mut sum_q, mut sum_qq, mut sum_xq) = (zeros, zeros, zeros);
        let offset = base * inverse;
        for (i, x) in self.columns.x.as_chunks::<2>().0.iter().enumerate() {
            for k in 0..2 {
                let q = Self::code(x[k], inverse, offset).round();
                let wq = self.weights.times(2 * i + k, q);
                sum_q[k] = sum_q[k] + wq;
                sum_qq[k] = wq.mul_add(q, sum_qq[k]);
                sum_xq[k] = wq.mul_add(x[k], sum_xq[k]);
            }
        }
        Moments { q: sum_q[0] + sum_q[1], qq: sum_qq[0] + sum_qq[1], xq: sum_xq[0] + sum_xq[1] }
    }

    /// The scale and base of least error for the codes that `m` sums, and the error's decrease.
    #[inline(always)]
    fn fit_moments(&self, m: &Moments<V>) -> (Fit<V>, V) {
        let isa = self.low.proof();
        let zero = V::splat(isa, 0.0);
        let determinant = self.sum_w * m.qq - m.q * m.q;
        // Codes that hardly differ say nothing about a slope.
        let solvable = V::splat(isa, 1e-5) * self.sum_w * m.qq;
        let inverse = solvable.less_then_else(determinant, determinant, zero).recip_or_zero();
        let mut scale = (self.sum_w * m.xq - self.sum_x * m.q) * inverse;
        let mut base = (scale * m.q - self.sum_x) / self.sum_w;
        if !FREE {
            let through_zero = self.low.mul_add(m.q, m.xq) * m.qq.recip_or_zero();
            scale = base.less_then_else(self.low, through_zero.max(zero), scale);
            base = base.max(self.low);
        }
        let gain = zero - self.cost(m, scale, base);
        (Fit { scale, base }, gain)
    }

    /// The error less `sum wxx`, with the codes that `m` sums.
    #[inline(always)]
    pub(super) fn cost(&self, m: &Moments<V>, scale: V, base: V) -> V {
        let isa = self.low.proof();
        let two = V::splat(isa, 2.0);
        let linear = two * base.mul_add(m.q, m.xq);
        let constant = base * (two * self.sum_x + base * self.sum_w);
        scale.mul_add(scale * m.qq - linear, constant)
    }

    /// A column as a code, before it is rounded.
    #[inline(always)]
    fn code(x: V, inverse: V, offset: V) -> V {
        let isa = x.proof();
        x.mul_add(inverse, offset).clamp(V::splat(isa, 0.0), V::splat(isa, f32::from(TOP)))
    }

    /// The weighted error of each run.
    #[inline(always)]
    pub(crate) fn error(&self, scale: V, inverse: V, base: V) -> V {
        let isa = self.low.proof();
        let offset = base * inverse;
        let mut error = [V::splat(isa, 0.0); 2];
        for (i, x) in self.columns.x.as_chunks::<2>().0.iter().enumerate() {
            for k in 0..2 {
                let off = Self::code(x[k], inverse, offset).round().mul_sub(scale, x[k] + base);
                error[k] = self.weights.times(2 * i + k, off).mul_add(off, error[k]);
            }
        }
        error[0] + error[1]
    }

    /// The codes in the order of the weights, for minima that are added to them.
    #[inline(always)]
    pub(crate) fn codes(&self, min: V, inverse: V) -> [[u8; LANES]; N] {
        let isa = self.low.proof();
        let (inverses, offsets) = (inverse.store(), (min * inverse).store());
        let mut codes = [[0; LANES]; N];
        for (i, (codes, &x)) in codes.iter_mut().zip(&self.columns.rows).enumerate() {
            let l = LANES * i / N;
            let code = Self::code(x, V::splat(isa, inverses[l]), V::splat(isa, offsets[l]));
            *codes = array::map(&code.round_to_i8(), i8::cast_unsigned);
        }
        codes
    }
}
