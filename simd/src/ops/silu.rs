//! SiLU: `x * sigmoid(x) = x / (1 + e^-x)` (Elfwing et al. 2017), SwiGLU with it (Shazeer 2020), and the
//! bounded forms of the latter that gpt-oss (OpenAI 2025, its model card and code), Step 3.5 and Maple have.
//!
//! Accuracy: 3 ULP, and one rounding more for the gated form; below -88.7 the exponential is infinite
//! and the result -0. `-inf` gives NaN (the quotient is inf / inf), as NaN does.

use super::elementwise::{self, Function};
use super::exp::exp;
use super::lanes::{self, LANES, Lanes};

/// `out[i] = silu(x[i])`; both `[n]`.
#[inline(always)]
pub(super) fn silu(x: &[f32], out: &mut [f32]) {
    elementwise::map(&Silu, x, out);
}

/// `out[i] = silu(gate[i]) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated(&Silu, gate, up, out);
}

/// `out[i] = x sigmoid(alpha x)` of `x = min(x[i], limit)`; both `[n]`.
#[inline(always)]
pub(super) fn silu_clamped(x: &[f32], (alpha, limit): (f32, f32), out: &mut [f32]) {
    elementwise::map(&Clamped { alpha, limit }, x, out);
}

/// `out[i] = x sigmoid(alpha x) (1 + u)` of `x = min(gate[i], limit)` and `u = up[i]` within `limit` on
/// either side; all `[n]`.
#[inline(always)]
pub(super) fn swiglu_clamped(gate: &[f32], up: &[f32], (alpha, limit): (f32, f32), out: &mut [f32]) {
    elementwise::gated(&Clamped { alpha, limit }, gate, up, out);
}

/// `out[i] = silu(x[i])` within `limit` above, or of `x[i]` within it; both `[n]`.
#[inline(always)]
pub(super) fn silu_bounded(x: &[f32], (limit, is_before): (f32, bool), out: &mut [f32]) {
    if is_before {
        elementwise::map(&Bounded::<true>(limit), x, out);
    } else {
        elementwise::map(&Bounded::<false>(limit), x, out);
    }
}

/// `out[i]` is what [`silu_bounded`] makes of `gate[i]`, times `up[i]` within `limit` on either side; all `[n]`.
#[inline(always)]
pub(super) fn swiglu_bounded(gate: &[f32], up: &[f32], (limit, is_before): (f32, bool), out: &mut [f32]) {
    if is_before {
        elementwise::gated(&Bounded::<true>(limit), gate, up, out);
    } else {
        elementwise::gated(&Bounded::<false>(limit), gate, up, out);
    }
}

/// `x` at most `limit`. The comparison leaves NaN as it is.
#[inline(always)]
fn at_most(x: &Lanes, limit: f32) -> Lanes {
    let mut out = *x;
    for l in 0..LANES {
        out[l] = if x[l] > limit { limit } else { x[l] };
    }
    out
}

/// `x` within `limit` on either side. The comparisons leave NaN as it is.
#[inline(always)]
fn within(x: &Lanes, limit: f32) -> Lanes {
    let mut out = at_most(x, limit);
    for l in 0..LANES {
        out[l] = if out[l] < -limit { -limit } else { out[l] };
    }
    out
}

/// `x / (1 + e^(-alpha x))`.
#[inline(always)]
fn of_slope(x: &Lanes, alpha: f32) -> Lanes {
    let mut negated = *x;
    for l in 0..LANES {
        negated[l] = -alpha * x[l];
    }
    let e = exp(&negated);
    let mut out = *x;
    for l in 0..LANES {
        out[l] = x[l] / (1.0 + e[l]);
    }
    out
}

struct Clamped {
    alpha: f32,
    limit: f32,
}

impl Function for Clamped {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        of_slope(&at_most(x, self.limit), self.alpha)
    }

    #[inline(always)]
    fn gated(&self, gate: &Lanes, up: &Lanes) -> Lanes {
        let (mut out, up) = (self.of(gate), within(up, self.limit));
        for l in 0..LANES {
            out[l] *= 1.0 + up[l];
        }
        out
    }
}

/// Bounds what SiLU gets, or what it gives.
struct Bounded<const IS_BEFORE: bool>(f32);

impl<const IS_BEFORE: bool> Function for Bounded<IS_BEFORE> {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        if IS_BEFORE { Silu.of(&at_most(x, self.0)) } else { at_most(&Silu.of(x), self.0) }
    }

    #[inline(always)]
    fn gated(&self, gate: &Lanes, up: &Lanes) -> Lanes {
        lanes::times(&self.of(gate), &within(up, self.0))
    }
}

struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        of_slope(x, 1.0)
    }
}
