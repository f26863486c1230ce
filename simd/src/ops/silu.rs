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
    elementwise::map::<Silu>(x, out);
}

/// `out[i] = silu(gate[i]) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated::<Silu>(gate, up, out);
}

/// `out[i] = x sigmoid(alpha x)` of `x = min(x[i], limit)`; both `[n]`.
#[inline(always)]
pub(super) fn silu_clamped(x: &[f32], (alpha, limit): (f32, f32), out: &mut [f32]) {
    let out = &mut out[..x.len()];
    for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let of = clamped(&lanes::padded(x, 0.0), alpha, limit);
        out.copy_from_slice(&of[..x.len()]);
    }
}

/// `out[i] = x sigmoid(alpha x) (1 + u)` of `x = min(gate[i], limit)` and `u = up[i]` within `limit` on
/// either side; all `[n]`.
#[inline(always)]
pub(super) fn swiglu_clamped(gate: &[f32], up: &[f32], (alpha, limit): (f32, f32), out: &mut [f32]) {
    let parts = gate.chunks(LANES).zip(up.chunks(LANES)).zip(out.chunks_mut(LANES));
    for ((gate, up), out) in parts {
        let mut of = clamped(&lanes::padded(gate, 0.0), alpha, limit);
        let up = lanes::padded(up, 0.0);
        for l in 0..LANES {
            of[l] *= 1.0 + within(up[l], limit);
        }
        out.copy_from_slice(&of[..gate.len()]);
    }
}

/// `out[i] = silu(x[i])` within `limit` above, or of `x[i]` within it; both `[n]`.
#[inline(always)]
pub(super) fn silu_bounded(x: &[f32], (limit, is_before): (f32, bool), out: &mut [f32]) {
    let out = &mut out[..x.len()];
    for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let of = bounded(&lanes::padded(x, 0.0), limit, is_before);
        out.copy_from_slice(&of[..x.len()]);
    }
}

/// `out[i]` is what [`silu_bounded`] makes of `gate[i]`, times `up[i]` within `limit` on either side; all `[n]`.
#[inline(always)]
pub(super) fn swiglu_bounded(gate: &[f32], up: &[f32], (limit, is_before): (f32, bool), out: &mut [f32]) {
    let parts = gate.chunks(LANES).zip(up.chunks(LANES)).zip(out.chunks_mut(LANES));
    for ((gate, up), out) in parts {
        let mut of = bounded(&lanes::padded(gate, 0.0), limit, is_before);
        let up = lanes::padded(up, 0.0);
        for l in 0..LANES {
            of[l] *= within(up[l], limit);
        }
        out.copy_from_slice(&of[..gate.len()]);
    }
}

#[inline(always)]
fn bounded(x: &Lanes, limit: f32, is_before: bool) -> Lanes {
    if is_before {
        return clamped(x, 1.0, limit);
    }
    let mut out = Silu::of(x);
    for l in 0..LANES {
        out[l] = if out[l] > limit { limit } else { out[l] };
    }
    out
}

/// `x` within `limit` on either side. The comparisons leave NaN as it is.
#[inline(always)]
fn within(x: f32, limit: f32) -> f32 {
    let x = if x > limit { limit } else { x };
    if x < -limit { -limit } else { x }
}

#[inline(always)]
fn clamped(x: &Lanes, alpha: f32, limit: f32) -> Lanes {
    let (mut clamped, mut negated) = (*x, *x);
    for l in 0..LANES {
        clamped[l] = if x[l] > limit { limit } else { x[l] };
        negated[l] = -alpha * clamped[l];
    }
    let e = exp(&negated);
    let mut out = clamped;
    for l in 0..LANES {
        out[l] = clamped[l] / (1.0 + e[l]);
    }
    out
}

struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn of(x: &Lanes) -> Lanes {
        let mut negated = *x;
        for l in 0..LANES {
            negated[l] = -x[l];
        }
        let e = exp(&negated);
        let mut out = *x;
        for l in 0..LANES {
            out[l] = x[l] / (1.0 + e[l]);
        }
        out
    }
}
