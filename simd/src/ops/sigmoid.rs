//! The sigmoid `1 / (1 + e^-x)`, and rows times that of others.
//!
//! Accuracy: 2 ULP; below -88.7 the exponential is infinite and the result 0.

use super::elementwise::{self, Function};
use super::exp::exp;
use super::lanes::{LANES, Lanes};

/// `out[i] = sigmoid(x[i])`; both `[n]`.
#[inline(always)]
pub(super) fn sigmoid(x: &[f32], out: &mut [f32]) {
    elementwise::map(&Sigmoid, x, out);
}

/// `out[i] = sigmoid(gate[i]) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated(&Sigmoid, gate, up, out);
}

struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let mut negated = *x;
        for l in 0..LANES {
            negated[l] = -x[l];
        }
        let e = exp(&negated);
        let mut out = *x;
        for l in 0..LANES {
            out[l] = 1.0 / (1.0 + e[l]);
        }
        out
    }
}
