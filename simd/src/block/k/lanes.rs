//! Sixteen floats side by side, for the encoders: a lane is a sub-block.
//!
//! Every operation is IEEE and per lane, without fused multiply-add, so the encoder's body compiled
//! for any tier gives the same bits; the compiler turns the loops into that tier's vectors.

use core::ops::{Add, Div, Mul, Sub};

/// Lanes, and sub-blocks that the encoders search at a time.
pub(crate) const LANES: usize = 16;

/// Adding and subtracting it rounds to the nearest even integer, for magnitudes below 2^22.
const ROUND: f32 = 12_582_912.0;

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct F32x16(pub(crate) [f32; LANES]);

impl F32x16 {
    pub(crate) const ZERO: Self = Self::splat(0.0);

    #[inline(always)]
    pub(crate) const fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    /// Applies `f` to each lane of both.
    #[inline(always)]
    pub(crate) fn zip(mut self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        self
    }

    /// The larger of both; `other` where `self` is not a number.
    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    /// The smaller of both; `other` where `self` is not a number.
    #[inline(always)]
    pub(crate) fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    /// The nearest integers, ties to even; exact for magnitudes below 2^22.
    #[inline(always)]
    pub(crate) fn round(self) -> Self {
        (self + Self::splat(ROUND)) - Self::splat(ROUND)
    }

    /// 1 / lane, and zero where the lane is zero.
    #[inline(always)]
    pub(crate) fn recip_or_zero(mut self) -> Self {
        for a in &mut self.0 {
            *a = if *a == 0.0 { 0.0 } else { 1.0 / *a };
        }
        self
    }

    /// The sum of all lanes: of each half as a tree, then of both.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        let [low, high] = self.sum_halves().halves();
        low + high
    }

    /// The sums of lanes 0..8 and 8..16, as trees, in every lane of their half.
    #[inline(always)]
    pub(crate) fn sum_halves(self) -> Self {
        Self::from_halves([0, 8].map(|first| {
            let v = &self.0[first..first + 8];
            ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
        }))
    }

    /// The largest of lanes 0..8 and of lanes 8..16, at least zero.
    #[inline(always)]
    pub(crate) fn max_of_halves(self) -> [f32; 2] {
        [0, 8].map(|first| self.0[first..first + 8].iter().fold(0.0, |a, &b| if b > a { b } else { a }))
    }

    /// Lanes 0 and 8, for values that are equal within each half.
    #[inline(always)]
    pub(crate) fn halves(self) -> [f32; 2] {
        [self.0[0], self.0[8]]
    }

    /// The first value in lanes 0..8, the second in lanes 8..16.
    #[inline(always)]
    pub(crate) fn from_halves([low, high]: [f32; 2]) -> Self {
        let mut out = Self::splat(low);
        out.0[8..].fill(high);
        out
    }

    /// Lanes of `a` where `self < limit`, else of `b`.
    #[inline(always)]
    pub(crate) fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self {
        let mut out = b;
        for l in 0..LANES {
            out.0[l] = if self.0[l] < limit.0[l] { a.0[l] } else { b.0[l] };
        }
        out
    }
}

impl Add for F32x16 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl Sub for F32x16 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul for F32x16 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl Div for F32x16 {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
}
