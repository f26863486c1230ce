//! Lanes in four NEON vectors.
//!
//! A vector is made from the tier's token, or from another vector, and holds it: its existence
//! proves the features. That is what the SAFETY lines refer to.

use core::arch::aarch64::*;
use core::array::from_fn;
use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Pairs, Wide};
use crate::array;
use crate::half_float::{f16_to_f32, f32_to_f16};
use crate::isa::Neon;

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeonFloats([float32x4_t; 4], Neon);

/// Sixteen integers, or pairs of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeonPairs([int16x8_t; 4], Neon);

impl Wide for NeonFloats {
    type Proof = Neon;
    type Pairs = NeonPairs;

    #[inline(always)]
    fn proof(self) -> Neon {
        self.1
    }

    #[inline(always)]
    fn splat(isa: Neon, value: f32) -> Self {
        // SAFETY: `isa` proves NEON.
        Self(unsafe { [vdupq_n_f32(value); 4] }, isa)
    }

    #[inline(always)]
    fn load(isa: Neon, lanes: &[f32; LANES]) -> Self {
        // SAFETY: `isa` proves NEON; each load reads a quarter of the 64 bytes.
        Self(from_fn(|i| unsafe { vld1q_f32(lanes.as_ptr().add(4 * i)) }), isa)
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        for (out, vector) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            // SAFETY: `self` holds the proof of NEON; the reference is to 16 writable bytes.
            unsafe { vst1q_f32(out.as_mut_ptr(), vector) };
        }
        lanes
    }

    #[inline(always)]
    fn swap<const BY: usize>(self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(
            from_fn(|i| unsafe {
                match BY {
                    1 => vrev64q_f32(self.0[i]),
                    2 => vextq_f32::<2>(self.0[i], self.0[i]),
                    _ => self.0[i ^ (BY / 4)],
                }
            }),
            self.1,
        )
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vfmaq_f32(addend.0[i], self.0[i], factor.0[i]) }), self.1)
    }

    #[inline(always)]
    fn mul_sub(self, factor: Self, subtrahend: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vfmaq_f32(vnegq_f32(subtrahend.0[i]), self.0[i], factor.0[i]) }), self.1)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vabsq_f32(self.0[i]) }), self.1)
    }

    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vrndnq_f32(self.0[i]) }), self.1)
    }

    #[inline(always)]
    fn round_to_i8(self) -> [i8; LANES] {
        let mut codes = [0; LANES];
        // SAFETY: `self` holds the proof of NEON; the array is 16 writable bytes.
        unsafe {
            let words = |i: usize| vmovn_s32(vcvtnq_s32_f32(self.0[i]));
            let halves = |i: usize| vmovn_s16(vcombine_s16(words(i), words(i + 1)));
            vst1q_s8(codes.as_mut_ptr(), vcombine_s8(halves(0), halves(2)));
        }
        codes
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        array::map(&self.store(), f32_to_f16)
    }

    #[inline(always)]
    fn from_f16(isa: Neon, halves: &[u16; LANES]) -> Self {
        Self::load(isa, &array::map(halves, f16_to_f32))
    }

    #[inline(always)]
    fn bits(self) -> NeonPairs {
        // SAFETY: `self` holds the proof of NEON.
        NeonPairs(from_fn(|i| unsafe { vreinterpretq_s16_f32(self.0[i]) }), self.1)
    }

    #[inline(always)]
    fn from_integers(integers: NeonPairs) -> Self {
        // SAFETY: the vectors hold the proof of NEON.
        Self(from_fn(|i| unsafe { vcvtq_f32_s32(vreinterpretq_s32_s16(integers.0[i])) }), integers.1)
    }

    #[inline(always)]
    fn extremes(all: &[[Self; LANES]; 2]) -> Self {
        // SAFETY: the vectors hold the proof of NEON.
        Self(
            from_fn(|i| unsafe {
                // As integers, floats of one sign order as their magnitudes do; which come last is up to the sign.
                let (mut highest, mut lowest) = (vdupq_n_s32(0), vdupq_n_u32(0));
                for x in all.as_flattened() {
                    highest = vmaxq_s32(highest, vreinterpretq_s32_f32(x.0[i]));
                    lowest = vmaxq_u32(lowest, vreinterpretq_u32_f32(x.0[i]));
                }
                let highest = vreinterpretq_u32_s32(highest);
                let is_high = vcgtq_u32(highest, vandq_u32(lowest, vdupq_n_u32(0x7fff_ffff)));
                vreinterpretq_f32_u32(vbslq_u32(is_high, highest, lowest))
            }),
            all[0][0].1,
        )
    }

    #[inline(always)]
    fn transpose(rows: &[Self; LANES]) -> [Self; LANES] {
        let mut columns = *rows;
        for g in 0..4 {
            for p in 0..4 {
                let (r0, r1) = (rows[4 * g].0[p], rows[4 * g + 1].0[p]);
                let (r2, r3) = (rows[4 * g + 2].0[p], rows[4 * g + 3].0[p]);
                // SAFETY: the vectors hold the proof of NEON.
                let square = unsafe { square(r0, r1, r2, r3) };
                for k in 0..4 {
                    columns[4 * p + k].0[g] = square[k];
                }
            }
        }
        columns
    }

    // Unlike `max` and `min`, these bounds are numbers and not zeros of the other sign.
    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vminnmq_f32(vmaxnmq_f32(self.0[i], low.0[i]), high.0[i]) }), self.1)
    }

    #[inline(always)]
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vbslq_f32(vcltq_f32(self.0[i], limit.0[i]), a.0[i], b.0[i]) }), self.1)
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

/// Transposes 4 x 4 floats.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn square(a: float32x4_t, b: float32x4_t, c: float32x4_t, d: float32x4_t) -> [float32x4_t; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (ac_low, ac_high) = (vzip1q_f32(a, c), vzip2q_f32(a, c));
        let (bd_low, bd_high) = (vzip1q_f32(b, d), vzip2q_f32(b, d));
        [
            vzip1q_f32(ac_low, bd_low),
            vzip2q_f32(ac_low, bd_low),
            vzip1q_f32(ac_high, bd_high),
            vzip2q_f32(ac_high, bd_high),
        ]
    }
}

impl Pairs for NeonPairs {
    type Proof = Neon;

    #[inline(always)]
    fn proof(self) -> Neon {
        self.1
    }

    #[inline(always)]
    fn splat(isa: Neon, [first, second]: [i16; 2]) -> Self {
        let pair = i32::from(first) & 0xffff | i32::from(second) << 16;
        // SAFETY: `isa` proves NEON.
        Self(unsafe { [vreinterpretq_s16_s32(vdupq_n_s32(pair)); 4] }, isa)
    }

    #[inline(always)]
    fn store(self) -> [u32; LANES] {
        let mut lanes = [0; LANES];
        for (out, pairs) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            // SAFETY: `self` holds the proof of NEON; the reference is to 16 writable bytes.
            unsafe { vst1q_u32(out.as_mut_ptr(), vreinterpretq_u32_s16(pairs)) };
        }
        lanes
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vandq_s16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vaddq_s16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vqrdmulhq_s16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vmaxq_s16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(from_fn(|i| unsafe { vminq_s16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(
            from_fn(|i| unsafe {
                let (a, b) = (vreinterpretq_s32_s16(self.0[i]), vreinterpretq_s32_s16(other.0[i]));
                vreinterpretq_s16_s32(vaddq_s32(a, b))
            }),
            self.1,
        )
    }

    #[inline(always)]
    fn add_products(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(
            from_fn(|i| unsafe {
                let low = vmull_s16(vget_low_s16(a.0[i]), vget_low_s16(b.0[i]));
                let sums = vpaddq_s32(low, vmull_high_s16(a.0[i], b.0[i]));
                vreinterpretq_s16_s32(vaddq_s32(vreinterpretq_s32_s16(self.0[i]), sums))
            }),
            self.1,
        )
    }

    #[inline(always)]
    fn low_halves(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of NEON.
        Self(
            from_fn(|i| unsafe {
                let (low, high) = (vreinterpretq_s32_s16(self.0[i]), vreinterpretq_s32_s16(other.0[i]));
                vreinterpretq_s16_s32(vsliq_n_s32::<16>(low, high))
            }),
            self.1,
        )
    }

    #[inline(always)]
    fn bytes_of_four(four: &[Self; 4]) -> [[u8; 16]; LANES] {
        let mut bytes = [[0; 16]; LANES];
        for (i, bytes) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // SAFETY: the vectors hold the proof of NEON; each store writes 16 bytes.
            unsafe {
                let [a, b, c, d] = [four[0].0[i], four[1].0[i], four[2].0[i], four[3].0[i]]
                    .map(|v| vreinterpretq_f32_s16(v));
                for (bytes, square) in bytes.iter_mut().zip(square(a, b, c, d)) {
                    vst1q_u8(bytes.as_mut_ptr(), vreinterpretq_u8_f32(square));
                }
            }
        }
        bytes
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident, $instruction:ident) => {
        impl $operator for NeonFloats {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: `self` holds the proof of NEON.
                Self(from_fn(|i| unsafe { $instruction(self.0[i], other.0[i]) }), self.1)
            }
        }
    };
}

operator!(Add, add, vaddq_f32);
operator!(Sub, sub, vsubq_f32);
operator!(Mul, mul, vmulq_f32);
operator!(Div, div, vdivq_f32);
