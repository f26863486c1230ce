//! GELU (Hendrycks and Gimpel 2016): `x * P(N < x)`, exact and in the form with a hyperbolic tangent.
//!
//! The exact form, `x / 2 * (1 + erf(x / sqrt 2))`, takes the normal distribution's tail from
//! [`tail`], which keeps its relative accuracy however small it is. The other form,
//! `x / 2 * (1 + tanh(y))` with `y = sqrt(2 / pi) * (x + 0.044715 x^3)`, equals `x / (1 + e^-2y)`,
//! where nothing cancels.
//!
//! Accuracy: the exact form 8 ULP; the other `4 + 3 |2y|` ULP, since an exponential turns the absolute
//! error of its argument into a relative one. Where results of the exact form fall towards the end of
//! the normal range (below 1.9e-37), its tail is subnormal, and 16 times that. The other form is -0
//! below -10.06, where the exponential is infinite. In both, `-inf` gives NaN (a product of 0 and
//! infinity), as NaN does, and `inf` gives `inf`.

use super::elementwise::{self, Function};
use super::exp::exp;
use super::lanes::{LANES, Lanes};

/// `sqrt(8 / pi)`.
const SLOPE: f32 = 1.595_769;
/// `0.044715 * sqrt(8 / pi)`.
const CUBIC: f32 = 0.071_354_814;

/// `out[i] = gelu(x[i])`, exact; both `[n]`.
#[inline(always)]
pub(super) fn gelu_erf(x: &[f32], out: &mut [f32]) {
    elementwise::map(&Exact, x, out);
}

/// `out[i] = gelu(x[i])`, in the form with the tangent; both `[n]`.
#[inline(always)]
pub(super) fn gelu_tanh(x: &[f32], out: &mut [f32]) {
    elementwise::map(&WithTangent, x, out);
}

/// `out[i] = gelu(gate[i]) * up[i]`, exact; all `[n]`.
#[inline(always)]
pub(super) fn geglu_erf(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated(&Exact, gate, up, out);
}

/// `out[i] = gelu(gate[i]) * up[i]`, in the form with the tangent; all `[n]`.
#[inline(always)]
pub(super) fn geglu_tanh(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated(&WithTangent, gate, up, out);
}

struct Exact;

impl Function for Exact {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let mut magnitude = *x;
        for l in 0..LANES {
            magnitude[l] = x[l].abs();
        }
        let tail = tail(&magnitude);
        let mut out = *x;
        for l in 0..LANES {
            out[l] = x[l] * if x[l] < 0.0 { tail[l] } else { 1.0 - tail[l] };
        }
        out
    }
}

struct WithTangent;

impl Function for WithTangent {
    #[inline(always)]
    fn of(&self, x: &Lanes) -> Lanes {
        let mut negated = *x;
        for l in 0..LANES {
            negated[l] = -x[l] * (x[l] * x[l]).mul_add(CUBIC, SLOPE);
        }
        let e = exp(&negated);
        let mut out = *x;
        for l in 0..LANES {
            out[l] = x[l] / (1.0 + e[l]);
        }
        out
    }
}

/// `tail(a) = e^(-a^2 / 2) * p(s)` with `s = (a - 3) / (a + 3)`; the coefficients of p, constant first,
/// fitted for least greatest relative error up to a = 15 (1.1e-8).
const P: [f32; 10] = [
    0.121_513_95,
    -0.206_402_61,
    0.123_225_056,
    -0.046_213_236,
    0.006_131_811,
    0.002_904_213_7,
    -0.000_982_822_4,
    -0.000_338_545_9,
    0.000_114_504_59,
    0.000_052_676_416,
];

/// The probability that a normal variable exceeds `a >= 0`; from 14.5 on it is 0.
#[inline(always)]
fn tail(a: &Lanes) -> Lanes {
    let (mut exponent, mut rest, mut factor) = (*a, *a, *a);
    for l in 0..LANES {
        // The comparison leaves NaN as it is.
        let a = if a[l] > 15.0 { 15.0 } else { a[l] };
        let square = a * a;
        exponent[l] = -0.5 * square;
        // What rounding took from the square; the exponential would magnify it.
        rest[l] = a.mul_add(a, -square);
        let s = (a - 3.0) / (a + 3.0);
        let mut p = P[9];
        for i in [8, 7, 6, 5, 4, 3, 2, 1, 0] {
            p = p.mul_add(s, P[i]);
        }
        factor[l] = p;
    }
    let e = exp(&exponent);
    let mut out = *a;
    for l in 0..LANES {
        let correction = factor[l] * (-0.5 * rest[l]);
        out[l] = e[l] * (factor[l] + correction);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of one unit in the last place at `exact`, the smallest subnormal at least.
    fn ulp(exact: f64) -> f64 {
        let magnitude = (exact.abs() as f32).to_bits();
        f64::from(f32::from_bits(magnitude + 1)) - f64::from(f32::from_bits(magnitude))
    }

    /// Every 997th float up to 20, in both signs.
    fn sweep() -> impl Iterator<Item = f32> {
        (0..=20.0f32.to_bits()).step_by(997).map(f32::from_bits).flat_map(|m| [m, -m])
    }

    #[test]
    fn the_exact_form_is_within_eight_ulp() {
        let mut worst = (0.0f64, 0.0);
        for x in sweep() {
            let exact = f64::from(x) * 0.5 * libm::erfc(-f64::from(x) * core::f64::consts::FRAC_1_SQRT_2);
            let error = (f64::from(Exact.of(&[x; 16])[3]) - exact).abs();
            // A subnormal tail is rounded before it is multiplied.
            let allowed = if exact.abs() < f64::from(f32::MIN_POSITIVE) * 16.0 { 16.0 } else { 1.0 };
            worst = if error / ulp(exact) / allowed > worst.0 {
                (error / ulp(exact) / allowed, x)
            } else {
                worst
            };
        }
        assert!(worst.0 <= 8.0, "{worst:?}");
        assert!(worst.0 > 0.5, "{worst:?}: is the measure broken?");
    }

    #[test]
    fn the_form_with_the_tangent_is_within_its_bound() {
        let mut worst = (0.0f64, 0.0);
        for x in sweep().filter(|x| *x > -10.0) {
            let v = f64::from(x);
            let y2 = libm::sqrt(8.0 / core::f64::consts::PI) * (v + 0.044715 * v * v * v);
            let exact = v / (1.0 + libm::exp(-y2));
            let error =
                (f64::from(WithTangent.of(&[x; 16])[3]) - exact).abs() / ulp(exact) / (4.0 + 3.0 * y2.abs());
            worst = if error > worst.0 { (error, x) } else { worst };
        }
        assert!(worst.0 <= 1.0, "{worst:?}");
        assert!(worst.0 > 0.2, "{worst:?}: is the measure broken?");
    }

    #[test]
    fn special_values_give_what_the_head_says() {
        for f in [|x: &Lanes| Exact.of(x), |x: &Lanes| WithTangent.of(x)] {
            let one = |x: f32| f(&[x; 16])[9];
            assert_eq!(one(0.0), 0.0);
            assert_eq!(one(f32::INFINITY), f32::INFINITY);
            assert_eq!(one(f32::MAX), f32::MAX);
            assert_eq!(one(f32::MIN).to_bits(), (-0.0f32).to_bits());
            assert_eq!(one(-20.0).to_bits(), (-0.0f32).to_bits());
            assert!(one(f32::NAN).is_nan());
            assert!(one(f32::NEG_INFINITY).is_nan());
        }
    }
}
