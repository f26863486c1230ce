//! Lanes in two AVX vectors.
//!
//! Only the encoders' wrappers in `block/<type>/avx2.rs` name this type, and they run only where the
//! CPU has AVX2: that is what every SAFETY line below refers to.

use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Lanes};
use crate::array;

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2([__m256; 2]);

impl Lanes for Avx2 {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the CPU has AVX2, see the module's head.
        Self(unsafe { [_mm256_set1_ps(value); 2] })
    }

    #[inline(always)]
    fn load(lanes: &[f32; LANES]) -> Self {
        // SAFETY: the CPU has AVX2, see the module's head; each load reads half of the 64 bytes.
        Self(unsafe { [_mm256_loadu_ps(lanes.as_ptr()), _mm256_loadu_ps(lanes.as_ptr().add(8))] })
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: the CPU has AVX2, see the module's head; each store writes half of the 64 bytes.
        unsafe {
            _mm256_storeu_ps(lanes.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(lanes.as_mut_ptr().add(8), self.0[1]);
        }
        lanes
    }

    #[inline(always)]
    fn swap<const BY: usize>(self) -> Self {
        let [low, high] = self.0;
        if BY == 8 {
            return Self([high, low]);
        }
        Self(array::two(|i| {
            // SAFETY: the CPU has AVX2, see the module's head.
            unsafe {
                match BY {
                    1 => _mm256_permute_ps::<0b10_11_00_01>(self.0[i]),
                    2 => _mm256_permute_ps::<0b01_00_11_10>(self.0[i]),
                    _ => _mm256_permute2f128_ps::<1>(self.0[i], self.0[i]),
                }
            }
        }))
    }

    #[inline(always)]
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self {
        // SAFETY: the CPU has AVX2, see the module's head.
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[0], limit.0[0]);
            let high = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[1], limit.0[1]);
            Self([_mm256_blendv_ps(b.0[0], a.0[0], low), _mm256_blendv_ps(b.0[1], a.0[1], high)])
        }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: the CPU has AVX2, see the module's head.
        Self(unsafe { [_mm256_max_ps(self.0[0], other.0[0]), _mm256_max_ps(self.0[1], other.0[1])] })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: the CPU has AVX2, see the module's head.
        Self(unsafe { [_mm256_min_ps(self.0[0], other.0[0]), _mm256_min_ps(self.0[1], other.0[1])] })
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident, $instruction:ident) => {
        impl $operator for Avx2 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: the CPU has AVX2, see the module's head.
                Self(unsafe { [$instruction(self.0[0], other.0[0]), $instruction(self.0[1], other.0[1])] })
            }
        }
    };
}

operator!(Add, add, _mm256_add_ps);
operator!(Sub, sub, _mm256_sub_ps);
operator!(Mul, mul, _mm256_mul_ps);
operator!(Div, div, _mm256_div_ps);
