//! Lanes in one AVX-512 vector.
//!
//! A vector is made from the tier's token, or from another vector, and holds it: its existence
//! proves the features. That is what the SAFETY lines refer to.

use core::arch::asm;
use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Sub};

use super::{LANES, Pairs, Wide};
use crate::isa::Avx512;

/// Sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Floats(__m512, Avx512);

/// Sixteen integers, or pairs of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Pairs(__m512i, Avx512);

impl Wide for Avx512Floats {
    type Proof = Avx512;
    type Pairs = Avx512Pairs;

    #[inline(always)]
    fn proof(self) -> Avx512 {
        self.1
    }

    #[inline(always)]
    fn splat(isa: Avx512, value: f32) -> Self {
        // SAFETY: `isa` proves AVX-512.
        Self(unsafe { _mm512_set1_ps(value) }, isa)
    }

    #[inline(always)]
    fn load(isa: Avx512, lanes: &[f32; LANES]) -> Self {
        // SAFETY: `isa` proves AVX-512; the reference is to 64 readable bytes.
        Self(unsafe { _mm512_loadu_ps(lanes.as_ptr()) }, isa)
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: `self` holds the proof of AVX-512; the array is 64 writable bytes.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes
    }

    #[inline(always)]
    fn swap<const BY: usize>(self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(
            unsafe {
                match BY {
                    1 => _mm512_permute_ps::<0b10_11_00_01>(self.0),
                    2 => _mm512_permute_ps::<0b01_00_11_10>(self.0),
                    4 => _mm512_shuffle_f32x4::<0b10_11_00_01>(self.0, self.0),
                    _ => _mm512_shuffle_f32x4::<0b01_00_11_10>(self.0, self.0),
                }
            },
            self.1,
        )
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) }, self.1)
    }

    #[inline(always)]
    fn mul_sub(self, factor: Self, subtrahend: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_fmsub_ps(self.0, factor.0, subtrahend.0) }, self.1)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_abs_ps(self.0) }, self.1)
    }

    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(self.0) }, self.1)
    }

    #[inline(always)]
    fn round_to_i8(self) -> [i8; LANES] {
        let mut codes = [0; LANES];
        // SAFETY: `self` holds the proof of AVX-512; the array is 16 writable bytes.
        unsafe {
            _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0)));
        }
        codes
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        let mut halves = [0; LANES];
        // SAFETY: `self` holds the proof of AVX-512; the array is 32 writable bytes.
        unsafe {
            let bits = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            _mm256_storeu_si256(halves.as_mut_ptr().cast(), bits);
        }
        halves
    }

    #[inline(always)]
    fn from_f16(isa: Avx512, halves: &[u16; LANES]) -> Self {
        // SAFETY: `isa` proves AVX-512; the reference is to 32 readable bytes.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().cast())) }, isa)
    }

    #[inline(always)]
    fn bits(self) -> Avx512Pairs {
        // SAFETY: `self` holds the proof of AVX-512.
        Avx512Pairs(unsafe { _mm512_castps_si512(self.0) }, self.1)
    }

    #[inline(always)]
    fn from_integers(integers: Avx512Pairs) -> Self {
        // SAFETY: the vectors hold the proof of AVX-512.
        Self(unsafe { _mm512_cvtepi32_ps(integers.0) }, integers.1)
    }

    #[inline(always)]
    fn extremes(all: &[[Self; LANES]; 2]) -> Self {
        // SAFETY: the vectors hold the proof of AVX-512.
        unsafe {
            // As integers, floats of one sign order as their magnitudes do; which come last is up to the sign.
            let (mut highest, mut lowest) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for x in all.as_flattened() {
                highest = _mm512_max_epi32(highest, x.bits().0);
                lowest = _mm512_max_epu32(lowest, x.bits().0);
            }
            let magnitude = _mm512_and_si512(lowest, _mm512_set1_epi32(i32::MAX));
            let is_high = _mm512_cmpgt_epi32_mask(highest, magnitude);
            Self(_mm512_castsi512_ps(_mm512_mask_blend_epi32(is_high, lowest, highest)), all[0][0].1)
        }
    }

    #[inline(always)]
    fn columns(isa: Avx512, blocks: &[[f32; 32]; LANES]) -> [[Self; LANES]; 2] {
        let mut columns = [[Self::splat(isa, 0.0); LANES]; 2];
        for (i, columns) in columns.as_flattened_mut().as_chunks_mut::<4>().0.iter_mut().enumerate() {
            prefetch_beyond(&blocks[2 * i]);
            prefetch_beyond(&blocks[2 * i + 1]);
            // SAFETY: `isa` proves AVX-512.
            let square = unsafe {
                squares(fours(blocks, 0, i), fours(blocks, 1, i), fours(blocks, 2, i), fours(blocks, 3, i))
            };
            for (column, lanes) in columns.iter_mut().zip(square) {
                *column = Self(lanes, isa);
            }
        }
        columns
    }

    #[inline(always)]
    fn transpose(rows: &[Self; LANES]) -> [Self; LANES] {
        let r = rows;
        // SAFETY: the vectors hold the proof of AVX-512.
        unsafe {
            let a = squares(r[0].0, r[1].0, r[2].0, r[3].0);
            let b = squares(r[4].0, r[5].0, r[6].0, r[7].0);
            let c = squares(r[8].0, r[9].0, r[10].0, r[11].0);
            let d = squares(r[12].0, r[13].0, r[14].0, r[15].0);
            let [r0, r4, r8, r12] = quarters(r[0].1, a[0], b[0], c[0], d[0]);
            let [r1, r5, r9, r13] = quarters(r[0].1, a[1], b[1], c[1], d[1]);
            let [r2, r6, r10, r14] = quarters(r[0].1, a[2], b[2], c[2], d[2]);
            let [r3, r7, r11, r15] = quarters(r[0].1, a[3], b[3], c[3], d[3]);
            [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15]
        }
    }

    #[inline(always)]
    fn less_then_else(self, limit: Self, a: Self, b: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        unsafe {
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0);
            Self(_mm512_mask_blend_ps(less, b.0, a.0), self.1)
        }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_max_ps(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_min_ps(self.0, other.0) }, self.1)
    }
}

impl Pairs for Avx512Pairs {
    type Proof = Avx512;

    #[inline(always)]
    fn proof(self) -> Avx512 {
        self.1
    }

    #[inline(always)]
    fn splat(isa: Avx512, [first, second]: [i16; 2]) -> Self {
        let pair = i32::from(first) & 0xffff | i32::from(second) << 16;
        // SAFETY: `isa` proves AVX-512.
        Self(unsafe { _mm512_set1_epi32(pair) }, isa)
    }

    #[inline(always)]
    fn store(self) -> [u32; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: `self` holds the proof of AVX-512; the array is 64 writable bytes.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), self.0) };
        lanes
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_and_si512(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_add_epi16(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_mulhrs_epi16(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_max_epi16(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_min_epi16(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { _mm512_add_epi32(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn add_products(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(unsafe { add_products(self.0, a.0, b.0) }, self.1)
    }

    #[inline(always)]
    fn low_halves(self, other: Self) -> Self {
        // SAFETY: `self` holds the proof of AVX-512.
        Self(
            unsafe { _mm512_mask_blend_epi16(0xaaaa_aaaa, self.0, _mm512_slli_epi32::<16>(other.0)) },
            self.1,
        )
    }

    #[inline(always)]
    fn bytes_of_four(four: &[Self; 4]) -> [[u8; 16]; LANES] {
        let mut bytes = [[0; 16]; LANES];
        // SAFETY: the vectors hold the proof of AVX-512; each store writes 16 bytes.
        unsafe {
            let [a, b, c, d] = [four[0].0, four[1].0, four[2].0, four[3].0];
            let floats = |v| _mm512_castsi512_ps(v);
            let squares = squares(floats(a), floats(b), floats(c), floats(d));
            for (k, square) in squares.into_iter().enumerate() {
                let square = _mm512_castps_si512(square);
                _mm_storeu_si128(bytes[k].as_mut_ptr().cast(), _mm512_castsi512_si128(square));
                _mm_storeu_si128(bytes[4 + k].as_mut_ptr().cast(), _mm512_extracti32x4_epi32::<1>(square));
                _mm_storeu_si128(bytes[8 + k].as_mut_ptr().cast(), _mm512_extracti32x4_epi32::<2>(square));
                _mm_storeu_si128(bytes[12 + k].as_mut_ptr().cast(), _mm512_extracti32x4_epi32::<3>(square));
            }
        }
        bytes
    }
}

/// The weights from `4 * i` on of every fourth block from `first` on, put together as they are loaded.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn fours(blocks: &[[f32; 32]; LANES], first: usize, i: usize) -> __m512 {
    // SAFETY: the caller's promise; each load reads four of a block's weights.
    unsafe {
        let low = _mm512_castps128_ps512(_mm_loadu_ps(blocks[first].as_chunks::<4>().0[i].as_ptr()));
        let low =
            _mm512_insertf32x4::<1>(low, _mm_loadu_ps(blocks[first + 4].as_chunks::<4>().0[i].as_ptr()));
        let low =
            _mm512_insertf32x4::<2>(low, _mm_loadu_ps(blocks[first + 8].as_chunks::<4>().0[i].as_ptr()));
        _mm512_insertf32x4::<3>(low, _mm_loadu_ps(blocks[first + 12].as_chunks::<4>().0[i].as_ptr()))
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
unsafe fn quarters(isa: Avx512, a: __m512, b: __m512, c: __m512, d: __m512) -> [Avx512Floats; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (ab_low, ab_high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let (cd_low, cd_high) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        [
            Avx512Floats(_mm512_shuffle_f32x4::<0x88>(ab_low, cd_low), isa),
            Avx512Floats(_mm512_shuffle_f32x4::<0xdd>(ab_low, cd_low), isa),
            Avx512Floats(_mm512_shuffle_f32x4::<0x88>(ab_high, cd_high), isa),
            Avx512Floats(_mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high), isa),
        ]
    }
}

/// How far ahead of the weights in work their cache lines are asked for: two groups of blocks.
const PREFETCH_BYTES: usize = 4096;

/// Asks for the two cache lines that lie [`PREFETCH_BYTES`] behind a block.
#[inline(always)]
fn prefetch_beyond(block: &[f32; 32]) {
    let ahead = block.as_ptr().cast::<i8>().wrapping_add(PREFETCH_BYTES);
    // SAFETY: a prefetch changes nothing but caches, whatever the address; SSE is part of x86-64.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(ahead);
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
    }
}

/// `sums` and the products of the pairs: the instruction as it stands, which the compiler takes apart into a
/// product and a sum if it is asked by the intrinsic.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_products(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
    let mut out = sums;
    // SAFETY: the instruction works on registers alone and is one of this function's features.
    unsafe {
        asm!(
            "vpdpwssd {0}, {1}, {2}",
            inout(zmm_reg) out,
            in(zmm_reg) a,
            in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    out
}

macro_rules! operator {
    ($operator:ident, $method:ident, $instruction:ident) => {
        impl $operator for Avx512Floats {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: `self` holds the proof of AVX-512.
                Self(unsafe { $instruction(self.0, other.0) }, self.1)
            }
        }
    };
}

operator!(Add, add, _mm512_add_ps);
operator!(Sub, sub, _mm512_sub_ps);
operator!(Mul, mul, _mm512_mul_ps);
operator!(Div, div, _mm512_div_ps);
