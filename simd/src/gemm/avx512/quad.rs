//! Four bytes of each of sixteen rows in an AVX-512 vector, and what unpacking does with them.

use core::arch::x86_64::*;
use core::ops::{Add, BitAnd, BitOr, Mul, Shl, Shr};

use crate::block::nvfp4::{FROM_F16, NAN};
use crate::gemm::{ROWS, Rows};

/// Four bytes of each of sixteen rows. Only an [`crate::isa::Avx512`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Quad(pub(super) __m512i);

impl Add for Quad {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: an `Avx512`, the proof of the features, made the vectors.
        Self(unsafe { _mm512_add_epi32(self.0, other.0) })
    }
}

impl Mul for Quad {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: an `Avx512`, the proof of the features, made the vectors.
        Self(unsafe { _mm512_mullo_epi32(self.0, other.0) })
    }
}

impl BitAnd for Quad {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        // SAFETY: an `Avx512`, the proof of the features, made the vectors; so everywhere.
        Self(unsafe { _mm512_and_si512(self.0, other.0) })
    }
}

impl BitOr for Quad {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        // SAFETY: an `Avx512`, the proof of the features, made the vectors.
        Self(unsafe { _mm512_or_si512(self.0, other.0) })
    }
}

impl Shl<u32> for Quad {
    type Output = Self;
    #[inline(always)]
    fn shl(self, n: u32) -> Self {
        // SAFETY: an `Avx512`, the proof of the features, made the vectors.
        Self(unsafe { _mm512_sllv_epi32(self.0, _mm512_set1_epi32(n.cast_signed())) })
    }
}

impl Shr<u32> for Quad {
    type Output = Self;
    #[inline(always)]
    fn shr(self, n: u32) -> Self {
        // SAFETY: an `Avx512`, the proof of the features, made the vectors.
        Self(unsafe { _mm512_srlv_epi32(self.0, _mm512_set1_epi32(n.cast_signed())) })
    }
}

/// Bytes `at..at + 16` of sixteen rows, transposed: quad `t` holds bytes `at + 4t..at + 4t + 4`.
///
/// # Safety
/// The bytes are inside the rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn transposed<const N: usize>(rows: &Rows<'_, N>, at: usize) -> [Quad; 4] {
    // Vector i: rows i, i + 4, i + 8, i + 12.
    let mut v = [_mm512_setzero_si512(); 4];
    for i in 0..4 {
        // SAFETY: by this function's contract.
        let [a, b, c, d] = unsafe {
            [
                _mm_loadu_si128(rows.row(i).as_ptr().add(at).cast()),
                _mm_loadu_si128(rows.row(4 + i).as_ptr().add(at).cast()),
                _mm_loadu_si128(rows.row(8 + i).as_ptr().add(at).cast()),
                _mm_loadu_si128(rows.row(12 + i).as_ptr().add(at).cast()),
            ]
        };
        // Where vectors of 512 bits take two cycles, halves are put together in one each.
        let ab = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
        let cd = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
        v[i] = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(ab), cd);
    }
    // A 4 x 4 transposition inside each quarter.
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    [
        Quad(_mm512_unpacklo_epi64(ab_low, cd_low)),
        Quad(_mm512_unpackhi_epi64(ab_low, cd_low)),
        Quad(_mm512_unpacklo_epi64(ab_high, cd_high)),
        Quad(_mm512_unpackhi_epi64(ab_high, cd_high)),
    ]
}

/// The four signed bytes of each row, each as sixteen integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn scales(Quad(quad): Quad) -> [Quad; 4] {
    [
        Quad(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(quad))),
        Quad(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(quad))),
        Quad(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(quad))),
        Quad(_mm512_srai_epi32::<24>(quad)),
    ]
}

/// Bits 0..4 of each row, each as bit 4 of a byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn spread_bits(Quad(quad): Quad) -> Quad {
    // A copy of the lowest byte in each byte, then its own bit of the copy.
    let copies = _mm512_shuffle_epi8(quad, _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0));
    let set = _mm512_test_epi8_mask(copies, _mm512_set1_epi32(0x0804_0201));
    Quad(_mm512_maskz_mov_epi8(set, _mm512_set1_epi8(16)))
}

/// Every byte, each below 16, looked up in a table.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn lookup(table: &[u8; 16], Quad(quad): Quad) -> Quad {
    Quad(crate::isa::avx512::lookup(table, quad))
}

/// Stores 2^(e - 128), with `e` each row's first byte; see [`crate::block::mxfp4`].
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_half_powers(Quad(quad): Quad, out: &mut [f32; ROWS]) {
    let one = _mm512_set1_epi32(1);
    let e = _mm512_and_si512(quad, _mm512_set1_epi32(0xff));
    let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, one));
    let subnormal = _mm512_slli_epi32::<21>(_mm512_add_epi32(e, one));
    crate::isa::avx512::store_f32(out, _mm512_castsi512_ps(_mm512_max_epi32(normal, subnormal)));
}

/// Stores the halves of the E4M3 floats in each row's first byte; see [`crate::block::nvfp4`].
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_e4m3(Quad(quad): Quad, out: &mut [f32; ROWS]) {
    let e = _mm512_and_si512(quad, _mm512_set1_epi32(0xff));
    let is_number = _mm512_cmpneq_epi32_mask(e, _mm512_set1_epi32(i32::from(NAN)));
    let bits = _mm512_and_si512(_mm512_slli_epi32::<7>(e), _mm512_set1_epi32(0x3f80));
    let halves = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_maskz_mov_epi32(is_number, bits)));
    crate::isa::avx512::store_f32(out, _mm512_mul_ps(halves, _mm512_set1_ps(FROM_F16)));
}
