//! SiLU: `x * sigmoid(x) = x / (1 + e^-x)` (Elfwing et al. 2017), and SwiGLU with it (Shazeer 2020).
//!
//! Accuracy: 3 ULP, and one rounding more for the gated form; below -88.7 the exponential is infinite
//! and the result -0. `-inf` gives NaN (the quotient is inf / inf), as NaN does.

use super::elementwise::{self, Function};
use super::exp::exp;
use super::lanes::{LANES, Lanes};

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
