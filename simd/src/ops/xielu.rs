//! xIELU (Huang and Schlag 2024, "Deriving Activation Functions Using Integration"): with two slopes and a bend of each
//! layer's own,
//!
//! ```text
//! x > 0:  p x^2 + beta x
//! else:   n (e^min(x, eps) - 1 - x) + beta x
//! ```
//!
//! Accuracy: a few ULP of the greatest term. NaN stays NaN.

use super::elementwise::{self, Function};
use super::exp::exp_m1;
use super::lanes::{LANES, Lanes};

/// The numbers of an xIELU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xielu {
    /// `p`: the slope's growth above zero.
    pub positive: f32,
    /// `n`: what bends it below.
    pub negative: f32,
    /// The slope at zero.
    pub beta: f32,
    /// The greatest argument of the exponential; negative.
    pub eps: f32,
}

/// `out[i] = xielu(x[i])`; both `[n]`.
#[inline(always)]
pub(super) fn xielu(x: &[f32], of: Xielu, out: &mut [f32]) {
    elementwise::map(&of, x, out);
}

/// `out[i] = xielu(gate[i]) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn gated(gate: &[f32], up: &[f32], of: Xielu, out: &mut [f32]) {
    elementwise::gated(&of, gate, up, out);
}

impl Function for Xielu {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let Xielu { positive, negative, beta, eps } = *self;
        let mut low = *x;
        for l in 0..LANES {
            // The comparison leaves NaN as it is.
            low[l] = if x[l] > eps { eps } else { x[l] };
        }
        let e = exp_m1(&low);
        let mut out = *x;
        for l in 0..LANES {
            let above = positive * x[l] * x[l] + beta * x[l];
            let below = (e[l] - x[l]) * negative + beta * x[l];
            out[l] = if x[l] > 0.0 { above } else { below };
        }
        out
    }
}
