//! Sixteen floats side by side, for the encoders: a lane is a sub-block.
//!
//! The search is one body, generic over [`Lanes`] and compiled under the target features of each tier
//! with that tier's vectors. Every operation is IEEE, per lane, and never fused, so all tiers give
//! the same bits. (Left to plain arrays the compiler vectorises only some of the loops.)

use core::ops::{Add, Div, Mul, Sub};

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;

pub(crate) use portable::Portable;

/// Lanes, and sub-blocks that the encoders search at a time.
pub(crate) const LANES: usize = 16;

/// Adding and subtracting it rounds to the nearest even integer, for magnitudes below 2^22.
const ROUND: f32 = 12_582_912.0;

/// Sixteen floats in a tier's vectors.
pub(crate) trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// `value` in every lane.
    fn splat(value: f32) -> Self;

    /// The lanes from memory.
    fn load(lanes: &[f32; LANES]) -> Self;

    /// The lanes in memory.
    fn store(self) -> [f32; LANES];

    /// Lanes of `a` where `self < limit`, else of `b`.
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self;

    /// The larger of both; `other` where one is not a number.
    fn max(self, other: Self) -> Self;

    /// The smaller of both; `other` where one is not a number.
    fn min(self, other: Self) -> Self;

    /// The nearest integers, ties to even; exact for magnitudes below 2^22.
    #[inline(always)]
    fn round(self) -> Self {
        (self + Self::splat(ROUND)) - Self::splat(ROUND)
    }

    /// 1 / lane, and zero where the lane is zero.
    #[inline(always)]
    fn recip_or_zero(self) -> Self {
        let zero = Self::splat(0.0);
        let magnitude = self.max(zero - self);
        zero.less_then_else(magnitude, Self::splat(1.0) / self, zero)
    }

    /// Lane `l ^ BY` in lane `l`; `BY` is 1, 2, 4 or 8.
    fn swap<const BY: usize>(self) -> Self;

    /// The sum of each run of `len` (8 or 16) lanes, in every lane of the run: those four apart are added
    /// first, then those two apart, neighbours, and the two runs of 8.
    #[inline(always)]
    fn sum_runs(self, len: usize) -> Self {
        let sum = self + self.swap::<4>();
        let sum = sum + sum.swap::<2>();
        let sum = sum + sum.swap::<1>();
        if len == LANES { sum + sum.swap::<8>() } else { sum }
    }

    /// The largest of each run of `len` (8 or 16) lanes, in every lane of the run.
    #[inline(always)]
    fn max_runs(self, len: usize) -> Self {
        let max = self.max(self.swap::<4>());
        let max = max.max(max.swap::<2>());
        let max = max.max(max.swap::<1>());
        if len == LANES { max.max(max.swap::<8>()) } else { max }
    }

    /// The sum of all lanes.
    #[inline(always)]
    fn sum(self) -> f32 {
        self.sum_runs(LANES).halves()[0]
    }

    /// Lanes 0 and 8, for values that are equal within each half.
    #[inline(always)]
    fn halves(self) -> [f32; 2] {
        let lanes = self.store();
        [lanes[0], lanes[8]]
    }

    /// The first value in lanes 0..8, the second in lanes 8..16.
    #[inline(always)]
    fn from_halves([low, high]: [f32; 2]) -> Self {
        let mut lanes = [low; LANES];
        lanes[8..].fill(high);
        Self::load(&lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        let values = [0.5, 1.5, 2.5, -0.5, -1.5, 62.5, 63.49, 0.49, 7.0, -3.2, 1e6, 0.0, 3.5, 4.5, 5.5, -2.5];
        assert_eq!(Portable::load(&values).round().store(), values.map(f32::round_ties_even));
    }

    #[test]
    fn comparisons_take_the_second_operand_where_one_is_nan() {
        let (nan, one) = (Portable::splat(f32::NAN), Portable::splat(1.0));
        assert_eq!(nan.max(one).min(one).store(), [1.0; LANES]);
        assert_eq!(nan.less_then_else(one, nan, one).store(), [1.0; LANES]);
        assert_eq!(nan.recip_or_zero().store(), [0.0; LANES]);
    }

    #[test]
    fn runs_are_summed_and_compared_apart() {
        let lanes = Portable::load(&core::array::from_fn(|l| l as f32));
        assert_eq!(lanes.sum_runs(8).store(), core::array::from_fn(|l| [28.0, 92.0][l / 8]));
        assert_eq!(lanes.max_runs(8).store(), core::array::from_fn(|l| [7.0, 15.0][l / 8]));
        assert_eq!(lanes.sum_runs(16).store(), [120.0; LANES]);
        assert_eq!(lanes.max_runs(16).store(), [15.0; LANES]);
    }
}
