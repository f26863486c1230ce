//! Loads, stores and sums for AVX2 kernels, on references instead of pointers.

use core::arch::x86_64::*;

/// Asks for the cache lines of a value.
#[inline(always)]
pub(crate) fn prefetch<V>(value: &V) {
    let first = core::ptr::from_ref(value).cast::<i8>();
    for line in 0..size_of::<V>().div_ceil(64) {
        // SAFETY: a prefetch never faults and changes nothing but caches; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(64 * line)) };
    }
}

/// Asks for the cache line at an address, whatever is there, in the second cache.
#[inline(always)]
pub(crate) fn prefetch_later(line: *const u8) {
    // SAFETY: a prefetch never faults and changes nothing but caches; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
}

/// How far ahead a dot product asks for its weights, in bytes. On a Zen 3, whose own prefetchers leave
/// some time to be waited for, any distance from 2 to 30 KB brings a quarter, and 1 KB half of that (2026-11-28).
const AHEAD: usize = 4096;

/// Asks for as many lines as `n` bytes at `at` have, so far ahead of them, if there are as many weights.
#[inline(always)]
pub(crate) fn prefetch_ahead(weights: &[u8], at: usize, n: usize) {
    prefetch_lines(weights, at + AHEAD, n);
}

/// Asks for the lines of `n` bytes at `at`, in the second cache, if there are as many.
#[inline(always)]
pub(crate) fn prefetch_lines(weights: &[u8], at: usize, n: usize) {
    if let Some(bytes) = weights.get(at..at + n) {
        bytes.iter().step_by(64).for_each(|byte| prefetch_later(byte));
    }
}

/// 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_128(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is to 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// 32 activation codes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_codes(codes: &[i8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) }
}

/// Eight integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_i32(values: &[i32; 8]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Eight floats.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_f32(values: &[f32; 8]) -> __m256 {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// Stores eight floats.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_f32(out: &mut [f32; 8], values: __m256) {
    // SAFETY: the reference is to 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) }
}

/// Stores four floats.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_f32x4(out: &mut [f32; 4], values: __m128) {
    // SAFETY: the reference is to 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), values) }
}

/// The sums of eight vectors of eight lanes each: lane `k` is the sum of the lanes of `v[k]`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn sums_of_8(v: [__m256i; 8]) -> __m256i {
    let quads = |i: usize| {
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[i], v[i + 1]), _mm256_hadd_epi32(v[i + 2], v[i + 3]))
    };
    let (first, second) = (quads(0), quads(4));
    _mm256_add_epi32(
        _mm256_permute2x128_si256::<0x20>(first, second),
        _mm256_permute2x128_si256::<0x31>(first, second),
    )
}

/// The same vector. The compiler does not know so: it neither moves what made it nor makes it in another way.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn opaque(mut v: __m256i) -> __m256i {
    // SAFETY: there is no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(ymm_reg) v, options(pure, nomem, nostack, preserves_flags));
    };
    v
}

/// Stores 32 activation codes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_codes(out: &mut [i8; 32], codes: __m256i) {
    // SAFETY: the reference is to 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), codes) }
}

/// Stores eight integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_i32(out: &mut [i32; 8], values: __m256i) {
    // SAFETY: the reference is to 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) }
}

/// Stores sixteen integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_i16(out: &mut [i16; 16], values: __m256i) {
    // SAFETY: the reference is to 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) }
}

/// Every byte, each below 16, looked up in a table.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn lookup(table: &[u8; 16], indices: __m256i) -> __m256i {
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_128(table)), indices)
}

/// A byte of ones for each bit that is set.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn ones(bits: u32) -> __m256i {
    let places = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let copies = _mm256_shuffle_epi8(_mm256_set1_epi32(bits.cast_signed()), places);
    _mm256_cmpeq_epi8(_mm256_and_si256(copies, own), own)
}
