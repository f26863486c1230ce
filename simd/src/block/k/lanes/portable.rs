//! Lanes as plain floats, for any CPU.
//!
//! The operations are functions that are called: inlined into a search, which is thousands of them, their
//! loops over lanes take the compiler minutes to unroll, for a tier that is there to be compared with.

use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Lanes};
use crate::array;
use crate::half_float::{f16_to_f32, f32_to_f16};

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    /// Applies `f` to each lane of both.
    #[inline(always)]
    fn zip(mut self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        self
    }
}

impl Lanes for Portable {
    #[inline(never)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(never)]
    fn load(lanes: &[f32; LANES]) -> Self {
        Self(*lanes)
    }

    #[inline(never)]
    fn store(self) -> [f32; LANES] {
        self.0
    }

    #[inline(never)]
    fn swap<const BY: usize>(self) -> Self {
        Self(array::build(|l| self.0[l ^ BY]))
    }

    #[inline(never)]
    fn mul_add(mut self, factor: Self, addend: Self) -> Self {
        for l in 0..LANES {
            self.0[l] = self.0[l].mul_add(factor.0[l], addend.0[l]);
        }
        self
    }

    #[inline(never)]
    fn mul_sub(mut self, factor: Self, subtrahend: Self) -> Self {
        for l in 0..LANES {
            self.0[l] = self.0[l].mul_add(factor.0[l], -subtrahend.0[l]);
        }
        self
    }

    #[inline(never)]
    fn abs(self) -> Self {
        Self(array::map(&self.0, f32::abs))
    }

    #[inline(never)]
    fn round(self) -> Self {
        Self(array::map(&self.0, f32::round_ties_even))
    }

    #[inline(never)]
    fn round_to_i8(self) -> [i8; LANES] {
        array::map(&self.0, |lane| lane.round_ties_even() as i8)
    }

    #[inline(never)]
    fn to_f16(self) -> [u16; LANES] {
        array::map(&self.0, f32_to_f16)
    }

    #[inline(never)]
    fn from_f16(halves: &[u16; LANES]) -> Self {
        Self(array::map(halves, f16_to_f32))
    }

    #[inline(never)]
    fn transpose(rows: &[Self; LANES]) -> [Self; LANES] {
        let mut columns = *rows;
        for (i, column) in columns.iter_mut().enumerate() {
            column.0 = array::build(|l| rows[l].0[i]);
        }
        columns
    }

    #[inline(never)]
    fn less_then_else(self, limit: Self, a: Self, mut b: Self) -> Self {
        for l in 0..LANES {
            b.0[l] = if self.0[l] < limit.0[l] { a.0[l] } else { b.0[l] };
        }
        b
    }

    #[inline(never)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(never)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident) => {
        impl $operator for Portable {
            type Output = Self;

            #[inline(never)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, f32::$method)
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);
