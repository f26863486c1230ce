//! Lanes as plain floats, for any CPU.
//!
//! The operations are functions that are called: inlined into a search, which is thousands of them, their
//! loops over lanes take the compiler minutes to unroll, for a tier that is there to be compared with.

use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Pairs, Wide};
use crate::array;
use crate::half_float::{f16_to_f32, f32_to_f16};

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable([f32; LANES]);

/// Sixteen integers, or pairs of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortablePairs([u32; LANES]);

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

impl Wide for Portable {
    type Proof = ();
    type Pairs = PortablePairs;

    #[inline(always)]
    fn proof(self) {}

    #[inline(never)]
    fn splat((): (), value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(never)]
    fn load((): (), lanes: &[f32; LANES]) -> Self {
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
    fn from_f16((): (), halves: &[u16; LANES]) -> Self {
        Self(array::map(halves, f16_to_f32))
    }

    #[inline(never)]
    fn bits(self) -> PortablePairs {
        PortablePairs(array::map(&self.0, f32::to_bits))
    }

    #[inline(never)]
    fn from_integers(integers: PortablePairs) -> Self {
        Self(array::map(&integers.0, |integer| integer.cast_signed() as f32))
    }

    #[inline(never)]
    fn extremes(all: &[[Self; LANES]; 2]) -> Self {
        // With the sign below the magnitude, floats order as integers do.
        let mut keys = [0; LANES];
        for x in all.as_flattened() {
            keys = array::build(|l| x.0[l].to_bits().rotate_left(1).max(keys[l]));
        }
        Self(array::map(&keys, |key| f32::from_bits(key.rotate_right(1))))
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

fn pair(first: i16, second: i16) -> u32 {
    u32::from(first.cast_unsigned()) | u32::from(second.cast_unsigned()) << 16
}

fn numbers(pair: u32) -> [i16; 2] {
    [pair as i16, (pair >> 16) as i16]
}

impl PortablePairs {
    /// Applies `f` to each number of both.
    #[inline(always)]
    fn zip(mut self, other: Self, f: impl Fn(i16, i16) -> i16) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            let ([a0, a1], [b0, b1]) = (numbers(*a), numbers(b));
            *a = pair(f(a0, b0), f(a1, b1));
        }
        self
    }
}

impl Pairs for PortablePairs {
    type Proof = ();

    #[inline(always)]
    fn proof(self) {}

    #[inline(never)]
    fn splat((): (), [first, second]: [i16; 2]) -> Self {
        Self([pair(first, second); LANES])
    }

    #[inline(never)]
    fn store(self) -> [u32; LANES] {
        self.0
    }

    #[inline(never)]
    fn and(self, other: Self) -> Self {
        Self(array::build(|l| self.0[l] & other.0[l]))
    }

    #[inline(never)]
    fn plus(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_add)
    }

    #[inline(never)]
    fn times(self, other: Self) -> Self {
        self.zip(other, |a, b| ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15) as i16)
    }

    #[inline(never)]
    fn max(self, other: Self) -> Self {
        self.zip(other, Ord::max)
    }

    #[inline(never)]
    fn min(self, other: Self) -> Self {
        self.zip(other, Ord::min)
    }

    #[inline(never)]
    fn add(self, other: Self) -> Self {
        Self(array::build(|l| self.0[l].wrapping_add(other.0[l])))
    }

    #[inline(never)]
    fn add_products(self, a: Self, b: Self) -> Self {
        Self(array::build(|l| {
            let ([a0, a1], [b0, b1]) = (numbers(a.0[l]), numbers(b.0[l]));
            let products = i32::from(a0) * i32::from(b0) + i32::from(a1) * i32::from(b1);
            (self.0[l].cast_signed() + products).cast_unsigned()
        }))
    }

    #[inline(never)]
    fn low_halves(self, other: Self) -> Self {
        Self(array::build(|l| self.0[l] & 0xffff | other.0[l] << 16))
    }

    #[inline(never)]
    fn bytes_of_four(four: &[Self; 4]) -> [[u8; 16]; LANES] {
        let mut bytes = [[0; 16]; LANES];
        for (l, bytes) in bytes.iter_mut().enumerate() {
            for (bytes, lanes) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(four) {
                *bytes = lanes.0[l].to_le_bytes();
            }
        }
        bytes
    }
}
