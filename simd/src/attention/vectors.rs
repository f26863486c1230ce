//! Sixteen floats as a tier holds them in registers.
//!
//! The bodies of [`super::sums`] keep many of these over a long loop. As arrays of floats they would be
//! so many elements that the compiler leaves some in memory; as vectors they stay where they are.

use super::floats::{F16, F32, Floats};
use crate::half_float;
use crate::ops::lanes::{self, LANES, LaneOps, Lanes};

/// What a tier does with sixteen floats; the value is the proof of its features.
pub(super) trait Vectors: LaneOps {
    /// Sixteen floats.
    type Vector: Copy;

    /// The same float sixteen times.
    fn splat(self, x: f32) -> Self::Vector;

    /// Sixteen numbers of half precision, least byte first.
    fn halves(self, bytes: &[u8; 2 * LANES]) -> Self::Vector;

    /// Sixteen numbers of single precision, least byte first.
    fn floats(self, bytes: &[u8; 4 * LANES]) -> Self::Vector;

    /// Sixteen small integers.
    fn integers(self, x: &[i8; LANES]) -> Self::Vector;

    /// The value of one number of half precision.
    fn half(self, bits: u16) -> f32;

    /// `x * y + sum`, rounded once.
    fn fma(self, x: Self::Vector, y: Self::Vector, sum: Self::Vector) -> Self::Vector;

    /// The floats in order.
    fn lanes(self, x: Self::Vector) -> Lanes;
}

impl Vectors for lanes::Portable {
    type Vector = Lanes;

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        [x; LANES]
    }

    #[inline(always)]
    fn halves(self, bytes: &[u8; 2 * LANES]) -> Lanes {
        F16::widen(self, bytes)
    }

    #[inline(always)]
    fn floats(self, bytes: &[u8; 4 * LANES]) -> Lanes {
        F32::widen(self, bytes)
    }

    #[inline(always)]
    fn integers(self, x: &[i8; LANES]) -> Lanes {
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            out[l] = f32::from(x[l]);
        }
        out
    }

    #[inline(always)]
    fn half(self, bits: u16) -> f32 {
        half_float::f16_to_f32(bits)
    }

    #[inline(always)]
    fn fma(self, x: Lanes, y: Lanes, sum: Lanes) -> Lanes {
        lanes::fma(&x, &y, &sum)
    }

    #[inline(always)]
    fn lanes(self, x: Lanes) -> Lanes {
        x
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{LANES, Lanes, Vectors};
    use crate::isa::{Avx2, Avx512};

    impl Vectors for Avx2 {
        type Vector = [__m256; 2];

        #[inline(always)]
        fn splat(self, x: f32) -> [__m256; 2] {
            // SAFETY: `self` proves AVX2, FMA and F16C.
            unsafe { [_mm256_set1_ps(x); 2] }
        }

        #[inline(always)]
        fn halves(self, bytes: &[u8; 2 * LANES]) -> [__m256; 2] {
            let first = bytes.as_ptr().cast::<__m128i>();
            // SAFETY: `self` proves AVX2, FMA and F16C; two times 16 bytes are loaded from 32.
            unsafe {
                [_mm256_cvtph_ps(_mm_loadu_si128(first)), _mm256_cvtph_ps(_mm_loadu_si128(first.add(1)))]
            }
        }

        #[inline(always)]
        fn floats(self, bytes: &[u8; 4 * LANES]) -> [__m256; 2] {
            let first = bytes.as_ptr().cast::<f32>();
            // SAFETY: `self` proves AVX2, FMA and F16C; two times 32 bytes are loaded from 64, from anywhere.
            unsafe { [_mm256_loadu_ps(first), _mm256_loadu_ps(first.add(8))] }
        }

        #[inline(always)]
        fn integers(self, x: &[i8; LANES]) -> [__m256; 2] {
            // SAFETY: `self` proves AVX2, FMA and F16C; 16 bytes are loaded from 16.
            unsafe {
                let bytes = _mm_loadu_si128(x.as_ptr().cast());
                let high = _mm_srli_si128::<8>(bytes);
                [
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
                ]
            }
        }

        #[inline(always)]
        fn half(self, bits: u16) -> f32 {
            // SAFETY: `self` proves AVX2, FMA and F16C.
            unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
        }

        #[inline(always)]
        fn fma(self, x: [__m256; 2], y: [__m256; 2], sum: [__m256; 2]) -> [__m256; 2] {
            // SAFETY: `self` proves AVX2, FMA and F16C.
            unsafe { [_mm256_fmadd_ps(x[0], y[0], sum[0]), _mm256_fmadd_ps(x[1], y[1], sum[1])] }
        }

        #[inline(always)]
        fn lanes(self, x: [__m256; 2]) -> Lanes {
            let mut out = [0.0; LANES];
            // SAFETY: `self` proves AVX2, FMA and F16C; two times 8 floats are stored into 16.
            unsafe {
                _mm256_storeu_ps(out.as_mut_ptr(), x[0]);
                _mm256_storeu_ps(out.as_mut_ptr().add(8), x[1]);
            }
            out
        }
    }

    impl Vectors for Avx512 {
        type Vector = __m512;

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            // SAFETY: `self` proves AVX-512 F and F16C.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        fn halves(self, bytes: &[u8; 2 * LANES]) -> __m512 {
            // SAFETY: `self` proves AVX-512 F and F16C; 32 bytes are loaded from 32.
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
        }

        #[inline(always)]
        fn floats(self, bytes: &[u8; 4 * LANES]) -> __m512 {
            // SAFETY: `self` proves AVX-512 F and F16C; 64 bytes are loaded from 64, from anywhere.
            unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
        }

        #[inline(always)]
        fn integers(self, x: &[i8; LANES]) -> __m512 {
            // SAFETY: `self` proves AVX-512 F and F16C; 16 bytes are loaded from 16.
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))) }
        }

        #[inline(always)]
        fn half(self, bits: u16) -> f32 {
            // SAFETY: `self` proves AVX-512 F and F16C.
            unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
        }

        #[inline(always)]
        fn fma(self, x: __m512, y: __m512, sum: __m512) -> __m512 {
            // SAFETY: `self` proves AVX-512 F and F16C.
            unsafe { _mm512_fmadd_ps(x, y, sum) }
        }

        #[inline(always)]
        fn lanes(self, x: __m512) -> Lanes {
            let mut out = [0.0; LANES];
            // SAFETY: `self` proves AVX-512 F and F16C; 16 floats are stored into 16.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) };
            out
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use core::arch::aarch64::*;

    use super::{LANES, Lanes, Vectors};
    use crate::array::four;
    use crate::isa::Neon;

    impl Vectors for Neon {
        type Vector = [float32x4_t; 4];

        #[inline(always)]
        fn splat(self, x: f32) -> [float32x4_t; 4] {
            // SAFETY: `self` proves NEON.
            unsafe { [vdupq_n_f32(x); 4] }
        }

        #[inline(always)]
        fn halves(self, bytes: &[u8; 2 * LANES]) -> [float32x4_t; 4] {
            // SAFETY: `self` proves NEON; 8 bytes are loaded from each quarter of 32.
            four(|q| unsafe { vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(bytes.as_ptr().add(8 * q)))) })
        }

        #[inline(always)]
        fn floats(self, bytes: &[u8; 4 * LANES]) -> [float32x4_t; 4] {
            // SAFETY: `self` proves NEON; 16 bytes are loaded from each quarter of 64.
            four(|q| unsafe { vreinterpretq_f32_u8(vld1q_u8(bytes.as_ptr().add(16 * q))) })
        }

        #[inline(always)]
        fn integers(self, x: &[i8; LANES]) -> [float32x4_t; 4] {
            // SAFETY: `self` proves NEON; 16 bytes are loaded from 16.
            unsafe {
                let bytes = vld1q_s8(x.as_ptr());
                let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
                [
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                    vcvtq_f32_s32(vmovl_high_s16(low)),
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                    vcvtq_f32_s32(vmovl_high_s16(high)),
                ]
            }
        }

        #[inline(always)]
        fn half(self, bits: u16) -> f32 {
            // SAFETY: `self` proves NEON.
            unsafe { vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits)))) }
        }

        #[inline(always)]
        fn fma(self, x: [float32x4_t; 4], y: [float32x4_t; 4], sum: [float32x4_t; 4]) -> [float32x4_t; 4] {
            // SAFETY: `self` proves NEON.
            four(|q| unsafe { vfmaq_f32(sum[q], x[q], y[q]) })
        }

        #[inline(always)]
        fn lanes(self, x: [float32x4_t; 4]) -> Lanes {
            let mut out = [0.0; LANES];
            for q in 0..4 {
                // SAFETY: `self` proves NEON; four floats are stored into each quarter of 16.
                unsafe { vst1q_f32(out.as_mut_ptr().add(4 * q), x[q]) };
            }
            out
        }
    }
}
