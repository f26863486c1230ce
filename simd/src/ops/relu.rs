//! ReLU: `max(x, 0)`, and its square (So et al. 2021, "Primer"). Exact but for the square's and the product's
//! rounding; NaN stays NaN.

use super::elementwise::{self, Function};
use super::lanes::{LANES, Lanes};

/// `out[i] = max(x[i], 0)`; both `[n]`.
#[inline(always)]
pub(super) fn relu(x: &[f32], out: &mut [f32]) {
    elementwise::map(&Relu, x, out);
}

/// `out[i] = max(x[i], 0)^2`; both `[n]`.
#[inline(always)]
pub(super) fn relu_squared(x: &[f32], out: &mut [f32]) {
    elementwise::map(&Squared, x, out);
}

/// `out[i] = max(gate[i], 0) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn relu_gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated(&Relu, gate, up, out);
}

/// `out[i] = max(gate[i], 0)^2 * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn relu_squared_gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated(&Squared, gate, up, out);
}

struct Relu;

impl Function for Relu {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let mut out = *x;
        for l in 0..LANES {
            out[l] = if x[l] < 0.0 { 0.0 } else { x[l] };
        }
        out
    }
}

struct Squared;

impl Function for Squared {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let mut out = Relu.of(x);
        for l in 0..LANES {
            out[l] *= out[l];
        }
        out
    }
}
