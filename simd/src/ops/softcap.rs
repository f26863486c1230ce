//! The soft cap of scores and logits: `cap tanh(x / cap)` (Bello et al. 2016, section 5).
//!
//! Near zero the tangent is its series, corrected for least greatest relative error up to 0.625 (Moshier's
//! Cephes, `tanhf`); beyond, `1 - 2 / (1 + e^2y)`, where little cancels. Accuracy: 3 ULP. Infinities give
//! `cap` with their sign, NaN stays NaN.

use super::elementwise::{self, Function};
use super::exp::exp;
use super::lanes::{LANES, Lanes};

/// Coefficients of `y^3, y^5, ...`, the last first.
const SERIES: [f32; 5] = [-5.704_988_6e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];

/// Below this the series is used.
const SMALL: f32 = 0.625;

/// Caps the row `x: [n]` in place.
#[inline(always)]
pub(super) fn softcap(x: &mut [f32], cap: f32) {
    elementwise::in_place(&Softcap(cap), x);
}

struct Softcap(f32);

impl Function for Softcap {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let mut y = *x;
        for l in 0..LANES {
            y[l] /= self.0;
        }
        let mut out = tanh(&y);
        for l in 0..LANES {
            out[l] *= self.0;
        }
        out
    }
}

#[inline(always)]
fn tanh(y: &Lanes) -> Lanes {
    let mut twice = *y;
    for l in 0..LANES {
        twice[l] = 2.0 * y[l].abs();
    }
    let e = exp(&twice);
    let mut out = *y;
    for l in 0..LANES {
        let square = y[l] * y[l];
        let mut p = SERIES[0];
        p = p.mul_add(square, SERIES[1]);
        p = p.mul_add(square, SERIES[2]);
        p = p.mul_add(square, SERIES[3]);
        p = p.mul_add(square, SERIES[4]);
        let near = (p * square).mul_add(y[l], y[l]);
        let far = (1.0 - 2.0 / (1.0 + e[l])).copysign(y[l]);
        out[l] = if y[l].abs() < SMALL { near } else { far };
    }
    out
}
