//! Lanes in four NEON vectors.
//!
//! Only the encoders' wrappers in `block/<type>/neon.rs` name this type, and NEON is part of every
//! aarch64 CPU: that is what every SAFETY line below refers to.

use core::arch::aarch64::*;
use core::array::from_fn;
use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Lanes};

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon([float32x4_t; 4]);

impl Lanes for Neon {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the CPU has NEON, see the module's head.
        Self(unsafe { [vdupq_n_f32(value); 4] })
    }

    #[inline(always)]
    fn load(lanes: &[f32; LANES]) -> Self {
        // SAFETY: the CPU has NEON, see the module's head; each load reads a quarter of the 64 bytes.
        Self(from_fn(|i| unsafe { vld1q_f32(lanes.as_ptr().add(4 * i)) }))
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        for (out, vector) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            // SAFETY: the CPU has NEON, see the module's head; the reference is to 16 writable bytes.
            unsafe { vst1q_f32(out.as_mut_ptr(), vector) };
        }
        lanes
    }

    #[inline(always)]
    fn swap<const BY: usize>(self) -> Self {
        // SAFETY: the CPU has NEON, see the module's head.
        Self(from_fn(|i| unsafe {
            match BY {
                1 => vrev64q_f32(self.0[i]),
                2 => vextq_f32::<2>(self.0[i], self.0[i]),
                _ => self.0[i ^ (BY / 4)],
            }
        }))
    }

    #[inline(always)]
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self {
        // SAFETY: the CPU has NEON, see the module's head.
        Self(from_fn(|i| unsafe { vbslq_f32(vcltq_f32(self.0[i], limit.0[i]), a.0[i], b.0[i]) }))
    }

    // The maximum and minimum instructions treat NaNs and zeros in their own way.

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        other.less_then_else(self, self, other)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.less_then_else(other, self, other)
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident, $instruction:ident) => {
        impl $operator for Neon {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: the CPU has NEON, see the module's head.
                Self(from_fn(|i| unsafe { $instruction(self.0[i], other.0[i]) }))
            }
        }
    };
}

operator!(Add, add, vaddq_f32);
operator!(Sub, sub, vsubq_f32);
operator!(Mul, mul, vmulq_f32);
operator!(Div, div, vdivq_f32);
