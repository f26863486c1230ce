//! Loads and stores of what a panel holds for sixteen rows, on references instead of pointers.

use core::arch::x86_64::*;

use crate::gemm::ROWS;

/// Sixteen integers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(words: &[i32; ROWS]) -> [__m256i; 2] {
    let first = words.as_ptr().cast::<__m256i>();
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { [_mm256_loadu_si256(first), _mm256_loadu_si256(first.add(1))] }
}

/// The codes of a word.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_codes(codes: &[u8; 64]) -> [__m256i; 2] {
    let first = codes.as_ptr().cast::<__m256i>();
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { [_mm256_loadu_si256(first), _mm256_loadu_si256(first.add(1))] }
}

/// Sixteen floats.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_f32(values: &[f32; ROWS]) -> [__m256; 2] {
    // SAFETY: the reference is to 16 floats.
    unsafe { [_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))] }
}

/// Stores sixteen floats.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_f32(out: &mut [f32; ROWS], values: [__m256; 2]) {
    // SAFETY: the reference is to 16 floats.
    unsafe {
        _mm256_storeu_ps(out.as_mut_ptr(), values[0]);
        _mm256_storeu_ps(out.as_mut_ptr().add(8), values[1]);
    }
}
