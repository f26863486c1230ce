//! Sixteen floats side by side, for the encoders: a lane is a sub-block.
//!
//! The search is one body, generic over [`Wide`] and compiled under the target features of each tier
//! with that tier's vectors. Every operation is IEEE, per lane, and fused only where the body says so,
//! so all tiers give the same bits. (Left to plain arrays the compiler vectorises only some of the loops.)

use core::ops::{Add, Div, Mul, Sub};

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod columns;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod pairs;
mod portable;

pub(crate) use pairs::Pairs;
pub(crate) use portable::Portable;

/// Lanes, and sub-blocks that the encoders search at a time.
pub(crate) const LANES: usize = 16;

/// Sixteen floats in a tier's vectors.
pub(crate) trait Wide:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Proof that the CPU has the features of the tier: what vectors are made from, and hold.
    type Proof: Copy;

    /// Lanes of integers.
    type Pairs: Pairs<Proof = Self::Proof>;

    /// The proof that it was made from.
    fn proof(self) -> Self::Proof;

    /// `value` in every lane.
    fn splat(isa: Self::Proof, value: f32) -> Self;

    /// `value` in every lane.
    #[inline(always)]
    fn all(self, value: f32) -> Self {
        Self::splat(self.proof(), value)
    }

    /// The lanes from memory.
    fn load(isa: Self::Proof, lanes: &[f32; LANES]) -> Self;

    /// The lanes in memory.
    fn store(self) -> [f32; LANES];

    /// Lanes of `a` where `self < limit`, else of `b`.
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self;

    /// The larger of both; `other` where one is not a number.
    fn max(self, other: Self) -> Self;

    /// The smaller of both; `other` where one is not a number.
    fn min(self, other: Self) -> Self;

    /// `self * factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// `self * factor - subtrahend`, rounded once.
    fn mul_sub(self, factor: Self, subtrahend: Self) -> Self;

    /// The lanes without their signs.
    fn abs(self) -> Self;

    /// The nearest integers, ties to even; of a zero the sign is not defined.
    fn round(self) -> Self;

    /// The nearest integers, ties to even, of lanes that round into -128..=127.
    fn round_to_i8(self) -> [i8; LANES];

    /// The f16 nearest to each lane, ties to even, as bits; for magnitudes up to the largest f16.
    fn to_f16(self) -> [u16; LANES];

    /// The values of f16s.
    fn from_f16(isa: Self::Proof, halves: &[u16; LANES]) -> Self;

    /// The bits of the lanes.
    fn bits(self) -> Self::Pairs;

    /// The integers, which have at most 24 bits and a sign, as floats.
    fn from_integers(integers: Self::Pairs) -> Self;

    /// In each lane what has the largest magnitude: a NaN before an infinity, and of a number and its negative
    /// the latter.
    fn extremes(all: &[[Self; LANES]; 2]) -> Self;

    /// Weight `i` of block `l` becomes lane `l` of number `i % 16` of half `i / 16`.
    #[inline(always)]
    fn columns(isa: Self::Proof, blocks: &[[f32; 32]; LANES]) -> [[Self; LANES]; 2] {
        [half_columns(isa, blocks, 0), half_columns(isa, blocks, 1)]
    }

    /// Row `l` becomes lane `l`, and lane `i` row `i`.
    fn transpose(rows: &[Self; LANES]) -> [Self; LANES];

    /// The lanes within `low..=high`; `low` where a lane is not a number. `low` is below `high`, and
    /// neither is a negative zero.
    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        self.max(low).min(high)
    }

    /// 1 / lane, and zero where the lane is zero.
    #[inline(always)]
    fn recip_or_zero(self) -> Self {
        let zero = self.all(0.0);
        zero.less_then_else(self.abs(), self.all(1.0) / self, zero)
    }

    /// Lane `l ^ BY` in lane `l`; `BY` is 1, 2, 4 or 8.
    fn swap<const BY: usize>(self) -> Self;

    /// The sum of each run of `len` (1, 8 or 16) lanes, in every lane of the run: those four apart are added
    /// first, then those two apart, neighbours, and the two runs of 8.
    #[inline(always)]
    fn sum_runs(self, len: usize) -> Self {
        if len == 1 {
            return self;
        }
        let sum = self + self.swap::<4>();
        let sum = sum + sum.swap::<2>();
        let sum = sum + sum.swap::<1>();
        if len == LANES { sum + sum.swap::<8>() } else { sum }
    }

    /// The largest of each run of `len` (1, 8 or 16) lanes, in every lane of the run.
    #[inline(always)]
    fn max_runs(self, len: usize) -> Self {
        if len == 1 {
            return self;
        }
        let max = self.max(self.swap::<4>());
        let max = max.max(max.swap::<2>());
        let max = max.max(max.swap::<1>());
        if len == LANES { max.max(max.swap::<8>()) } else { max }
    }

    /// Lanes 0 and 8, for values that are equal within each half.
    #[inline(always)]
    fn halves(self) -> [f32; 2] {
        let lanes = self.store();
        [lanes[0], lanes[8]]
    }

    /// The first value in lanes 0..8, the second in lanes 8..16.
    #[inline(always)]
    fn from_halves(isa: Self::Proof, [low, high]: [f32; 2]) -> Self {
        let mut lanes = [low; LANES];
        lanes[8..].fill(high);
        Self::load(isa, &lanes)
    }
}

/// The first or the second sixteen weights of sixteen blocks, transposed.
#[inline(always)]
fn half_columns<V: Wide>(isa: V::Proof, blocks: &[[f32; 32]; LANES], half: usize) -> [V; LANES] {
    let mut rows = [V::splat(isa, 0.0); LANES];
    for (row, block) in rows.iter_mut().zip(blocks) {
        *row = V::load(isa, &block.as_chunks().0[half]);
    }
    V::transpose(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        let values = [0.5, 1.5, 2.5, -0.5, -1.5, 62.5, 63.49, 0.49, 7.0, -3.2, 1e6, 0.0, 3.5, 4.5, 5.5, -2.5];
        assert_eq!(Portable::load((), &values).round().store(), values.map(f32::round_ties_even));
    }

    #[test]
    fn comparisons_take_the_second_operand_where_one_is_nan() {
        let (nan, one) = (Portable::splat((), f32::NAN), Portable::splat((), 1.0));
        assert_eq!(nan.max(one).min(one).store(), [1.0; LANES]);
        assert_eq!(nan.less_then_else(one, nan, one).store(), [1.0; LANES]);
        assert_eq!(nan.recip_or_zero().store(), [0.0; LANES]);
    }

    #[test]
    fn codes_are_rounded_to_nearest_even() {
        let mut values: [f32; LANES] = core::array::from_fn(|l| l as f32 * 16.5 - 128.0);
        values[15] = 127.4;
        assert_eq!(
            Portable::load((), &values).round_to_i8(),
            values.map(|value| value.round_ties_even() as i8)
        );
    }

    #[test]
    fn transposing_puts_rows_into_lanes() {
        let rows =
            core::array::from_fn(|l| Portable::load((), &core::array::from_fn(|i| (16 * l + i) as f32)));
        for (i, column) in Portable::transpose(&rows).iter().enumerate() {
            assert_eq!(column.store(), core::array::from_fn(|l| (16 * l + i) as f32));
        }
    }

    #[test]
    fn runs_are_summed_and_compared_apart() {
        let lanes = Portable::load((), &core::array::from_fn(|l| l as f32));
        assert_eq!(lanes.sum_runs(8).store(), core::array::from_fn(|l| [28.0, 92.0][l / 8]));
        assert_eq!(lanes.max_runs(8).store(), core::array::from_fn(|l| [7.0, 15.0][l / 8]));
        assert_eq!(lanes.sum_runs(16).store(), [120.0; LANES]);
        assert_eq!(lanes.max_runs(16).store(), [15.0; LANES]);
    }
}
