//! Lanes in one AVX-512 vector.
//!
//! Only the encoders' wrappers in `block/<type>/avx512.rs` name this type, and they run only where the
//! CPU has AVX-512: that is what every SAFETY line below refers to.

use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Lanes};

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(__m512);

impl Lanes for Avx512 {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load(lanes: &[f32; LANES]) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head; the reference is to 64 readable bytes.
        Self(unsafe { _mm512_loadu_ps(lanes.as_ptr()) })
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: the CPU has AVX-512, see the module's head; the array is 64 writable bytes.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes
    }

    #[inline(always)]
    fn swap<const BY: usize>(self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe {
            match BY {
                1 => _mm512_permute_ps::<0b10_11_00_01>(self.0),
                2 => _mm512_permute_ps::<0b01_00_11_10>(self.0),
                4 => _mm512_shuffle_f32x4::<0b10_11_00_01>(self.0, self.0),
                _ => _mm512_shuffle_f32x4::<0b01_00_11_10>(self.0, self.0),
            }
        })
    }

    #[inline(always)]
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        unsafe {
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0);
            Self(_mm512_mask_blend_ps(less, b.0, a.0))
        }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident, $instruction:ident) => {
        impl $operator for Avx512 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: the CPU has AVX-512, see the module's head.
                Self(unsafe { $instruction(self.0, other.0) })
            }
        }
    };
}

operator!(Add, add, _mm512_add_ps);
operator!(Sub, sub, _mm512_sub_ps);
operator!(Mul, mul, _mm512_mul_ps);
operator!(Div, div, _mm512_div_ps);
