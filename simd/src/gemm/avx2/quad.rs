//! Four bytes of each of sixteen rows in two AVX2 vectors, and what unpacking does with them.

use core::arch::x86_64::*;
use core::ops::{Add, BitAnd, BitOr, Mul, Shl, Shr};

use crate::block::nvfp4::{FROM_F16, NAN};
use crate::gemm::{ROWS, Rows};
use crate::isa::avx2::opaque;

/// Rows 0..8 and 8..16. Only an [`crate::isa::Avx2`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Quad(pub(in crate::gemm) [__m256i; 2]);

impl Add for Quad {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: an `Avx2`, the proof of the features, made the vectors.
        Self(unsafe { [_mm256_add_epi32(self.0[0], other.0[0]), _mm256_add_epi32(self.0[1], other.0[1])] })
    }
}

impl Mul for Quad {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: an `Avx2`, the proof of the features, made the vectors.
        Self(unsafe {
            [_mm256_mullo_epi32(self.0[0], other.0[0]), _mm256_mullo_epi32(self.0[1], other.0[1])]
        })
    }
}

impl BitAnd for Quad {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        // SAFETY: an `Avx2`, the proof of the features, made the vectors; so everywhere.
        Self(unsafe { [_mm256_and_si256(self.0[0], other.0[0]), _mm256_and_si256(self.0[1], other.0[1])] })
    }
}

impl BitOr for Quad {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        // SAFETY: an `Avx2`, the proof of the features, made the vectors.
        Self(unsafe { [_mm256_or_si256(self.0[0], other.0[0]), _mm256_or_si256(self.0[1], other.0[1])] })
    }
}

impl Shl<u32> for Quad {
    type Output = Self;
    #[inline(always)]
    fn shl(self, n: u32) -> Self {
        // SAFETY: an `Avx2`, the proof of the features, made the vectors.
        unsafe {
            let n = _mm256_set1_epi32(n.cast_signed());
            Self([_mm256_sllv_epi32(self.0[0], n), _mm256_sllv_epi32(self.0[1], n)])
        }
    }
}

impl Shr<u32> for Quad {
    type Output = Self;
    #[inline(always)]
    fn shr(self, n: u32) -> Self {
        // SAFETY: an `Avx2`, the proof of the features, made the vectors.
        unsafe {
            let n = _mm256_set1_epi32(n.cast_signed());
            Self([_mm256_srlv_epi32(self.0[0], n), _mm256_srlv_epi32(self.0[1], n)])
        }
    }
}

/// Bytes `at..at + 16` of sixteen rows, transposed: quad `t` holds bytes `at + 4t..at + 4t + 4`.
///
/// # Safety
/// The bytes are inside the rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transposed<const N: usize>(rows: &Rows<'_, N>, at: usize) -> [Quad; 4] {
    let mut out = [Quad([_mm256_setzero_si256(); 2]); 4];
    for h in 0..2 {
        // Vector i: rows i and i + 4 of the half.
        let mut v = [_mm256_setzero_si256(); 4];
        for i in 0..4 {
            // SAFETY: by this function's contract.
            let (a, b) = unsafe {
                (
                    _mm_loadu_si128(rows.row(8 * h + i).as_ptr().add(at).cast()),
                    _mm_loadu_si128(rows.row(8 * h + 4 + i).as_ptr().add(at).cast()),
                )
            };
            // Not inserted: on a Zen 3, inserting from memory takes longer than this.
            let twice = opaque(_mm256_broadcastsi128_si256(b));
            v[i] = _mm256_blend_epi32::<0b1111_0000>(_mm256_castsi128_si256(a), twice);
        }
        // A 4 x 4 transposition inside each half of the vectors.
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
        out[0].0[h] = _mm256_unpacklo_epi64(ab_low, cd_low);
        out[1].0[h] = _mm256_unpackhi_epi64(ab_low, cd_low);
        out[2].0[h] = _mm256_unpacklo_epi64(ab_high, cd_high);
        out[3].0[h] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    out
}

/// The four signed bytes of each row, each as a pair of equal `i16`.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::gemm) fn paired_scales(quad: Quad) -> [Quad; 4] {
    let mut out = [quad; 4];
    for h in 0..2 {
        let v = quad.0[h];
        out[0].0[h] = twice(_mm256_slli_epi32::<24>(v));
        out[1].0[h] = twice(_mm256_slli_epi32::<16>(v));
        out[2].0[h] = twice(_mm256_slli_epi32::<8>(v));
        out[3].0[h] = twice(v);
    }
    out
}

/// The four signed bytes of each row, each as sixteen integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::gemm) fn scales(quad: Quad) -> [Quad; 4] {
    let mut out = [quad; 4];
    for h in 0..2 {
        let v = quad.0[h];
        out[0].0[h] = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(v));
        out[1].0[h] = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(v));
        out[2].0[h] = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(v));
        out[3].0[h] = _mm256_srai_epi32::<24>(v);
    }
    out
}

/// The highest byte of each 32 bits as a pair of equal `i16`.
#[inline]
#[target_feature(enable = "avx2")]
fn twice(v: __m256i) -> __m256i {
    let wide = _mm256_srai_epi32::<24>(v);
    _mm256_blend_epi16::<0b1010_1010>(wide, _mm256_slli_epi32::<16>(wide))
}

/// Stores the values of the f16 in each row's first two bytes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn store_f16(quad: Quad, out: &mut [f32; ROWS]) {
    let low = _mm256_set1_epi32(0xffff);
    let halves = _mm256_packus_epi32(_mm256_and_si256(quad.0[0], low), _mm256_and_si256(quad.0[1], low));
    // Rows 0..4, 8..12, 4..8, 12..16 become rows in order.
    let halves = _mm256_permute4x64_epi64::<0b11_01_10_00>(halves);
    // SAFETY: two times 8 floats are stored into 16.
    unsafe {
        _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
        _mm256_storeu_ps(out.as_mut_ptr().add(8), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)));
    }
}

/// Bits 0..4 of each row, each as bit 4 of a byte.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn spread_bits(quad: Quad) -> Quad {
    let order =
        _mm256_set_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0, 0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
    let own = _mm256_set1_epi32(0x0804_0201);
    let mut out = quad;
    for h in 0..2 {
        // A copy of the lowest byte in each byte, then its own bit of the copy.
        let copies = _mm256_shuffle_epi8(quad.0[h], order);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(copies, own), own);
        out.0[h] = _mm256_and_si256(set, _mm256_set1_epi8(16));
    }
    out
}

/// Every byte, each below 16, looked up in a table.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn lookup(table: &[u8; 16], quad: Quad) -> Quad {
    Quad([crate::isa::avx2::lookup(table, quad.0[0]), crate::isa::avx2::lookup(table, quad.0[1])])
}

/// Stores 2^(e - 128), with `e` each row's first byte; see [`crate::block::mxfp4`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_half_powers(quad: Quad, out: &mut [f32; ROWS]) {
    let one = _mm256_set1_epi32(1);
    for h in 0..2 {
        let e = _mm256_and_si256(quad.0[h], _mm256_set1_epi32(0xff));
        let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, one));
        let subnormal = _mm256_slli_epi32::<21>(_mm256_add_epi32(e, one));
        let powers = _mm256_castsi256_ps(_mm256_max_epi32(normal, subnormal));
        crate::isa::avx2::store_f32(&mut out.as_chunks_mut().0[h], powers);
    }
}

/// Stores the halves of the E4M3 floats in each row's first byte; see [`crate::block::nvfp4`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn store_e4m3(mut quad: Quad, out: &mut [f32; ROWS]) {
    for v in &mut quad.0 {
        let e = _mm256_and_si256(*v, _mm256_set1_epi32(0xff));
        let is_nan = _mm256_cmpeq_epi32(e, _mm256_set1_epi32(i32::from(NAN)));
        let bits = _mm256_and_si256(_mm256_slli_epi32::<7>(e), _mm256_set1_epi32(0x3f80));
        *v = _mm256_andnot_si256(is_nan, bits);
    }
    store_f16(quad, out);
    for half in out.as_chunks_mut::<8>().0 {
        let scaled = _mm256_mul_ps(crate::isa::avx2::load_f32(half), _mm256_set1_ps(FROM_F16));
        crate::isa::avx2::store_f32(half, scaled);
    }
}
