//! Lanes in two AVX vectors.
//!
//! A vector is made from the tier's token, or from another vector, and holds it: its existence
//! proves the features. That is what the SAFETY lines refer to.

use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Pairs, Wide};
use crate::array;
use crate::isa::Avx2;

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2Floats([__m256; 2], Avx2);

/// Sixteen integers, or pairs of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2Pairs([__m256i; 2], Avx2);

impl Wide for Avx2Floats {
    type Proof = Avx2;
    type Pairs = Avx2Pairs;

    #[inline(always)]
    fn proof(self) -> Avx2 {
        self.1
    }

    #[inline(always)]
    fn splat(isa: Avx2, value: f32) -> Self {
        // SAFETY: `isa` proves AVX2.
        Self(unsafe { [_mm256_set1_ps(value); 2] }, isa)
    }

    #[inline(always)]
    fn load(isa: Avx2, lanes: &[f32; LANES]) -> Self {
        // SAFETY: `isa` proves AVX2; each load reads half of the 64 bytes.
        Self(unsafe { [_mm256_loadu_ps(lanes.as_ptr()), _mm256_loadu_ps(lanes.as_ptr().add(8))] }, isa)
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: `self` holds the proof of AVX2; each store writes half of the 64 bytes.
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
            return Self([high, low], self.1);
        }
        Self(
            array::two(|i| {
                // SAFETY: `self` holds the proof of AVX2.
                unsafe {
                    match BY {
                        1 => _mm256_permute_ps::<0b10_11_00_01>(self.0[i]),
                        2 => _mm256_permute_ps::<0b01_00_11_10>(self.0[i]),
                        _ => _mm256_permute2f128_ps::<1>(self.0[i], self.0[i]),
                    }
                }
            }),
            self.1,
        )
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2 and FMA.
        Self(array::two(|i| unsafe { _mm256_fmadd_ps(self.0[i], factor.0[i], addend.0[i]) }), self.1)
    }

    #[inline(always)]
    fn mul_sub(self, factor: Self, subtrahend: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2 and FMA.
        Self(array::two(|i| unsafe { _mm256_fmsub_ps(self.0[i], factor.0[i], subtrahend.0[i]) }), self.1)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0[i]) }), self.1)
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_round_ps::<NEAREST>(self.0[i]) }), self.1)
    }

    #[inline(always)]
    fn round_to_i8(self) -> [i8; LANES] {
        let mut codes = [0; LANES];
        // SAFETY: `self` holds the proof of AVX2; the array is 16 writable bytes.
        unsafe {
            let [low, high] = array::two(|i| _mm256_cvtps_epi32(self.0[i]));
            // The packing leaves the quarters in the order 0, 2, 1, 3.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm_packs_epi16(low, high));
        }
        codes
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        let mut halves = [0; LANES];
        // SAFETY: `self` holds the proof of AVX2 and F16C; each store writes half of the 32 bytes.
        unsafe {
            let bits = array::two(|i| _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0[i]));
            _mm_storeu_si128(halves.as_mut_ptr().cast(), bits[0]);
            _mm_storeu_si128(halves.as_mut_ptr().add(8).cast(), bits[1]);
        }
        halves
    }

    #[inline(always)]
    fn from_f16(isa: Avx2, halves: &[u16; LANES]) -> Self {
        // SAFETY: `isa` proves AVX2 and F16C; each load reads half of the 32 bytes.
        Self(
            array::two(|i| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().add(8 * i).cast())) }),
            isa,
        )
    }

    #[inline(always)]
    fn bits(self) -> Avx2Pairs {
        // SAFETY: `self` holds the proof of AVX2.
        Avx2Pairs(array::two(|i| unsafe { _mm256_castps_si256(self.0[i]) }), self.1)
    }

    #[inline(always)]
    fn from_integers(integers: Avx2Pairs) -> Self {
        // SAFETY: the vectors hold the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_cvtepi32_ps(integers.0[i]) }), integers.1)
    }

    #[inline(always)]
    fn extremes(all: &[[Self; LANES]; 2]) -> Self {
        // SAFETY: the vectors hold the proof of AVX2.
        Self(unsafe { [half_extremes(all, 0), half_extremes(all, 1)] }, all[0][0].1)
    }

    #[inline(always)]
    fn transpose(rows: &[Self; LANES]) -> [Self; LANES] {
        // SAFETY: the vectors hold the proof of AVX2.
        unsafe {
            // Columns 0..8 and 8..16, of rows 0..8 and 8..16.
            let (a, b) = (eights(rows, 0, 0), eights(rows, 8, 0));
            let (c, d) = (eights(rows, 0, 1), eights(rows, 8, 1));
            let mut columns = *rows;
            for i in 0..8 {
                columns[i] = Self([a[i], b[i]], rows[0].1);
                columns[8 + i] = Self([c[i], d[i]], rows[0].1);
            }
            columns
        }
    }

    #[inline(always)]
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[0], limit.0[0]);
            let high = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[1], limit.0[1]);
            Self([_mm256_blendv_ps(b.0[0], a.0[0], low), _mm256_blendv_ps(b.0[1], a.0[1], high)], self.1)
        }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(unsafe { [_mm256_max_ps(self.0[0], other.0[0]), _mm256_max_ps(self.0[1], other.0[1])] }, self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(unsafe { [_mm256_min_ps(self.0[0], other.0[0]), _mm256_min_ps(self.0[1], other.0[1])] }, self.1)
    }
}

/// Half `half` of [`Wide::extremes`].
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn half_extremes(all: &[[Avx2Floats; LANES]; 2], half: usize) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        // As integers, floats of one sign order as their magnitudes do; which come last is up to the sign.
        let (mut highest, mut lowest) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for x in all.as_flattened() {
            let bits = _mm256_castps_si256(x.0[half]);
            highest = _mm256_max_epi32(highest, bits);
            lowest = _mm256_max_epu32(lowest, bits);
        }
        let magnitude = _mm256_and_si256(lowest, _mm256_set1_epi32(i32::MAX));
        let is_high = _mm256_cmpgt_epi32(highest, magnitude);
        _mm256_castsi256_ps(_mm256_blendv_epi8(lowest, highest, is_high))
    }
}

/// Transposes 8 x 8 floats: half `half` of the rows from `first` on.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn eights(rows: &[Avx2Floats; LANES], first: usize, half: usize) -> [__m256; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (squares(rows, first, half), squares(rows, first + 4, half));
        [
            _mm256_permute2f128_ps::<0x20>(a[0], b[0]),
            _mm256_permute2f128_ps::<0x20>(a[1], b[1]),
            _mm256_permute2f128_ps::<0x20>(a[2], b[2]),
            _mm256_permute2f128_ps::<0x20>(a[3], b[3]),
            _mm256_permute2f128_ps::<0x31>(a[0], b[0]),
            _mm256_permute2f128_ps::<0x31>(a[1], b[1]),
            _mm256_permute2f128_ps::<0x31>(a[2], b[2]),
            _mm256_permute2f128_ps::<0x31>(a[3], b[3]),
        ]
    }
}

/// Transposes the 4 x 4 floats in each quarter of four rows: half `half` of those from `first` on.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn squares(rows: &[Avx2Floats; LANES], first: usize, half: usize) -> [__m256; 4] {
    let (r0, r1) = (rows[first].0[half], rows[first + 1].0[half]);
    let (r2, r3) = (rows[first + 2].0[half], rows[first + 3].0[half]);
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
        let (c, d) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
        [
            _mm256_shuffle_ps::<0x44>(a, c),
            _mm256_shuffle_ps::<0xee>(a, c),
            _mm256_shuffle_ps::<0x44>(b, d),
            _mm256_shuffle_ps::<0xee>(b, d),
        ]
    }
}

impl Pairs for Avx2Pairs {
    type Proof = Avx2;

    #[inline(always)]
    fn proof(self) -> Avx2 {
        self.1
    }

    #[inline(always)]
    fn splat(isa: Avx2, [first, second]: [i16; 2]) -> Self {
        let pair = i32::from(first) & 0xffff | i32::from(second) << 16;
        // SAFETY: `isa` proves AVX2.
        Self(unsafe { [_mm256_set1_epi32(pair); 2] }, isa)
    }

    #[inline(always)]
    fn store(self) -> [u32; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: `self` holds the proof of AVX2; each store writes half of the 64 bytes.
        unsafe {
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), self.0[0]);
            _mm256_storeu_si256(lanes.as_mut_ptr().add(8).cast(), self.0[1]);
        }
        lanes
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_and_si256(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_add_epi16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_mulhrs_epi16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_max_epi16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_min_epi16(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(array::two(|i| unsafe { _mm256_add_epi32(self.0[i], other.0[i]) }), self.1)
    }

    #[inline(always)]
    fn add_products(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(
            array::two(|i| unsafe { _mm256_add_epi32(self.0[i], _mm256_madd_epi16(a.0[i], b.0[i])) }),
            self.1,
        )
    }

    #[inline(always)]
    fn low_halves(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX2.
        Self(
            array::two(|i| unsafe {
                _mm256_blend_epi16::<0xaa>(self.0[i], _mm256_slli_epi32::<16>(other.0[i]))
            }),
            self.1,
        )
    }

    #[inline(always)]
    fn bytes_of_four(four: &[Self; 4]) -> [[u8; 16]; LANES] {
        let mut bytes = [[0; 16]; LANES];
        for (half, bytes) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: the vectors hold the proof of AVX2; each store writes 16 bytes.
            unsafe {
                let (a, b) = (four[0].0[half], four[1].0[half]);
                let (c, d) = (four[2].0[half], four[3].0[half]);
                let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
                let squares = [
                    _mm256_unpacklo_epi64(ab_low, cd_low),
                    _mm256_unpackhi_epi64(ab_low, cd_low),
                    _mm256_unpacklo_epi64(ab_high, cd_high),
                    _mm256_unpackhi_epi64(ab_high, cd_high),
                ];
                for (k, square) in squares.into_iter().enumerate() {
                    _mm_storeu_si128(bytes[k].as_mut_ptr().cast(), _mm256_castsi256_si128(square));
                    _mm_storeu_si128(bytes[4 + k].as_mut_ptr().cast(), _mm256_extracti128_si256::<1>(square));
                }
            }
        }
        bytes
    }
}

macro_rules! operator {
    ($operator:ident, $method:ident, $instruction:ident) => {
        impl $operator for Avx2Floats {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let (a, b) = (self.0, other.0);
                // SAFETY: `self` holds the proof of AVX2.
                let lanes = unsafe { [$instruction(a[0], b[0]), $instruction(a[1], b[1])] };
                Self(lanes, self.1)
            }
        }
    };
}

operator!(Add, add, _mm256_add_ps);
operator!(Sub, sub, _mm256_sub_ps);
operator!(Mul, mul, _mm256_mul_ps);
operator!(Div, div, _mm256_div_ps);
