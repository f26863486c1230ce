//! Softplus: `ln(1 + e^x) = max(x, 0) + ln(1 + y)` with `y = e^-|x|` (Dugas et al. 2001).
//!
//! `ln(1 + y)` is `2 atanh(s)` of `s = y / (2 + y)`, which is at most a third: the series in `s^2` has reached the
//! precision of `f32` with its eighth term. Accuracy: 3 ULP of
//! normal numbers; below -104 the result is 0, and NaN stays NaN.

use super::elementwise::{self, Function};
use super::exp::exp;
use super::lanes::{LANES, Lanes};

/// `1 / (2 i + 1)`.
const SERIES: [f32; 8] =
    [1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0];

/// `x[i] = softplus(x[i])`, in place.
#[inline(always)]
pub(super) fn softplus(x: &mut [f32]) {
    elementwise::in_place(&Softplus, x);
}

struct Softplus;

impl Function for Softplus {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let mut negated = *x;
        for l in 0..LANES {
            negated[l] = -x[l].abs();
        }
        let y = exp(&negated);
        let mut out = *x;
        for l in 0..LANES {
            let s = y[l] / (2.0 + y[l]);
            let square = s * s;
            let mut sum = SERIES[7];
            let mut i = 7;
            while i > 0 {
                i -= 1;
                sum = sum.mul_add(square, SERIES[i]);
            }
            // The comparison leaves NaN as it is.
            let positive = if x[l] < 0.0 { 0.0 } else { x[l] };
            out[l] = (2.0 * s).mul_add(sum, positive);
        }
        out
    }
}
