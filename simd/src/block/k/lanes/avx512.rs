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
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn mul_sub(self, factor: Self, subtrahend: Self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe { _mm512_fmsub_ps(self.0, factor.0, subtrahend.0) })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe { _mm512_abs_ps(self.0) })
    }

    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head.
        Self(unsafe { _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(self.0) })
    }

    #[inline(always)]
    fn round_to_i8(self) -> [i8; LANES] {
        let mut codes = [0; LANES];
        // SAFETY: the CPU has AVX-512, see the module's head; the array is 16 writable bytes.
        unsafe {
            _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0)));
        }
        codes
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        let mut halves = [0; LANES];
        // SAFETY: the CPU has AVX-512, see the module's head; the array is 32 writable bytes.
        unsafe {
            let bits = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            _mm256_storeu_si256(halves.as_mut_ptr().cast(), bits);
        }
        halves
    }

    #[inline(always)]
    fn from_f16(halves: &[u16; LANES]) -> Self {
        // SAFETY: the CPU has AVX-512, see the module's head; the reference is to 32 readable bytes.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().cast())) })
    }

    #[inline(always)]
    fn transpose(rows: &[Self; LANES]) -> [Self; LANES] {
        let r = rows;
        // SAFETY: the CPU has AVX-512, see the module's head.
        unsafe {
            let a = squares(r[0].0, r[1].0, r[2].0, r[3].0);
            let b = squares(r[4].0, r[5].0, r[6].0, r[7].0);
            let c = squares(r[8].0, r[9].0, r[10].0, r[11].0);
            let d = squares(r[12].0, r[13].0, r[14].0, r[15].0);
            let [r0, r4, r8, r12] = quarters(a[0], b[0], c[0], d[0]);
            let [r1, r5, r9, r13] = quarters(a[1], b[1], c[1], d[1]);
            let [r2, r6, r10, r14] = quarters(a[2], b[2], c[2], d[2]);
            let [r3, r7, r11, r15] = quarters(a[3], b[3], c[3], d[3]);
            [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15]
        }
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

/// Transposes the 4 x 4 floats that each quarter of the four vectors holds.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn squares(r0: __m512, r1: __m512, r2: __m512, r3: __m512) -> [__m512; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (_mm512_unpacklo_ps(r0, r1), _mm512_unpackhi_ps(r0, r1));
        let (c, d) = (_mm512_unpacklo_ps(r2, r3), _mm512_unpackhi_ps(r2, r3));
        [
            _mm512_shuffle_ps::<0x44>(a, c),
            _mm512_shuffle_ps::<0xee>(a, c),
            _mm512_shuffle_ps::<0x44>(b, d),
            _mm512_shuffle_ps::<0xee>(b, d),
        ]
    }
}

/// Transposes the 4 x 4 quarters of four vectors.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn quarters(a: __m512, b: __m512, c: __m512, d: __m512) -> [Avx512; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (ab_low, ab_high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let (cd_low, cd_high) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        [
            Avx512(_mm512_shuffle_f32x4::<0x88>(ab_low, cd_low)),
            Avx512(_mm512_shuffle_f32x4::<0xdd>(ab_low, cd_low)),
            Avx512(_mm512_shuffle_f32x4::<0x88>(ab_high, cd_high)),
            Avx512(_mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high)),
        ]
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
