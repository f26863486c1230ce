//! `e^x`, the same bits on every platform.
//!
//! `x = n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite's two-step reduction, exact in its first
//! step), `e^r` by a polynomial of degree 6 (fitted for least greatest relative error, 3.1e-9), and
//! `2^n` in two factors, so that results below the normal range round once.
//!
//! Accuracy: at most 1 ULP over the whole range, subnormal results included. `e^-inf = 0`, above
//! 88.73 the result is infinite, NaN stays NaN.

use super::lanes::{LANES, Lanes};

const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// ln 2 = `LN2_HIGH + LN2_LOW`, the first rounded to `f32`.
const LN2_HIGH: f32 = core::f32::consts::LN_2;
const LN2_LOW: f32 = -1.904_654_3e-9;
/// Adding this to a small float leaves its nearest integer in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// `e^r = 1 + r + r^2 q(r)`; the coefficients of q, constant first.
const Q: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_724, 0.001_381_458_4];
/// Beyond these the result is 0 or infinite whatever the argument.
const LOWEST: f32 = -104.0;
const HIGHEST: f32 = 89.0;

/// `e^x` in every lane.
#[inline(always)]
pub(super) fn exp(x: &Lanes) -> Lanes {
    let mut out = [0.0; LANES];
    for l in 0..LANES {
        out[l] = exp_one(x[l]);
    }
    out
}

/// `e^x - 1` in every lane, for `x` of at most zero: within 2 ULP.
#[inline(always)]
pub(super) fn exp_m1(x: &Lanes) -> Lanes {
    let mut out = [0.0; LANES];
    for l in 0..LANES {
        out[l] = exp_m1_one(x[l]);
    }
    out
}

#[inline(always)]
fn exp_one(x: f32) -> f32 {
    // Comparisons, not `clamp`: NaN passes through both.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let (n, p) = reduced(x);
    let p = p + 1.0;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn exp_m1_one(x: f32) -> f32 {
    // Below, the result is -1 for any argument.
    let x = if x < -80.0 { -80.0 } else { x };
    let (n, p) = reduced(x);
    let power = power_of_two(n);
    p.mul_add(power, power - 1.0)
}

/// `n` and `p` of which `e^x = 2^n (1 + p)`.
#[inline(always)]
fn reduced(x: f32) -> (i32, f32) {
    let rounded = x.mul_add(LOG2_E, ROUNDER);
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let steps = rounded - ROUNDER;
    let r = steps.mul_add(-LN2_LOW, steps.mul_add(-LN2_HIGH, x));
    let q = Q[4].mul_add(r, Q[3]).mul_add(r, Q[2]).mul_add(r, Q[1]).mul_add(r, Q[0]);
    (n, (r * r).mul_add(q, r))
}

/// `2^n` for `n` in -126..=127; other `n`, which only a NaN argument brings, give any bits.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(x: f32) -> f32 {
        exp(&[x; 16])[5]
    }

    #[test]
    fn exp_m1_is_within_two_ulp() {
        let mut worst = 0.0f64;
        for x in (1..=90.0f32.to_bits()).step_by(997).map(|bits| -f32::from_bits(bits)) {
            let exact = libm::expm1(f64::from(x));
            let y = exp_m1(&[x; 16])[5];
            let next = f64::from(f32::from_bits((exact as f32).to_bits() + 1));
            let ulp = (next - f64::from(exact as f32)).abs();
            worst = worst.max((f64::from(y) - exact).abs() / ulp);
        }
        assert!(worst <= 2.0, "{worst} ULP");
        assert_eq!(exp_m1(&[0.0; 16]), [0.0; 16]);
        assert!(exp_m1(&[f32::NAN; 16])[0].is_nan());
    }

    #[test]
    fn exp_is_within_one_ulp() {
        // Every 997th float of both signs up to the ends of the range.
        let magnitudes = (0..=105.0f32.to_bits()).step_by(997).map(f32::from_bits);
        let mut worst = 0.0f64;
        for x in magnitudes.flat_map(|m| [m, -m]).filter(|x| *x < 88.72) {
            let exact = libm::exp(f64::from(x));
            let y = one(x);
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
            let error = (f64::from(y) - exact).abs() / ulp;
            worst = worst.max(error);
        }
        assert!(worst <= 1.0, "{worst} ULP");
        assert!(worst > 0.4, "{worst} ULP: is the measure broken?");
    }

    #[test]
    fn exp_of_special_values() {
        assert_eq!(one(0.0), 1.0);
        assert_eq!(one(-0.0), 1.0);
        assert_eq!(one(f32::NEG_INFINITY), 0.0);
        assert_eq!(one(f32::MIN), 0.0);
        assert_eq!(one(f32::INFINITY), f32::INFINITY);
        assert_eq!(one(88.8), f32::INFINITY);
        assert!(one(f32::NAN).is_nan());
        assert!(one(88.72).is_finite());
    }
}
