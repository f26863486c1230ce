//! Loads and sums for AVX-512 kernels, on references instead of pointers.

use core::arch::x86_64::*;

/// 64 activation codes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_codes(codes: &[i8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
}

/// 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_512(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Sixteen floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_f32(values: &[f32; 16]) -> __m512 {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Stores sixteen floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_f32(out: &mut [f32; 16], values: __m512) {
    // SAFETY: the reference is to 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) }
}

/// The sums of the halves of four vectors of sixteen lanes: lane `2i` is the sum of the lower eight
/// lanes of `v[i]`, lane `2i + 1` that of the upper eight.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
pub(crate) fn sums_of_8(v: [__m512i; 4]) -> __m256i {
    // Inside each quarter of 128 bits: a quarter's sum of v[i] in lane i.
    let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (first, second) = (pairs(v[0], v[1]), pairs(v[2], v[3]));
    let quarters =
        _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
    // Quarters 0 and 1 belong to the lower eight lanes, 2 and 3 to the upper.
    let halves = _mm512_add_epi32(quarters, _mm512_shuffle_i32x4::<0b10_11_00_01>(quarters, quarters));
    let order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, halves))
}

/// The same vector. The compiler does not know so: it neither moves what made it nor makes it in another way.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn opaque(mut v: __m512i) -> __m512i {
    // SAFETY: there is no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(zmm_reg) v, options(pure, nomem, nostack, preserves_flags));
    };
    v
}

/// Every byte, each below 16, looked up in a table.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn lookup(table: &[u8; 16], indices: __m512i) -> __m512i {
    _mm512_shuffle_epi8(_mm512_broadcast_i32x4(super::avx2::load_128(table)), indices)
}
