//! The tree of [`super::sum`] for several groups of lanes at once: each step adds the halves of two
//! vectors and leaves both sums in one.

use core::arch::x86_64::*;

use super::Lanes;

/// See [`super::LaneOps::sums_of_4`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sums_of_4(x: &[Lanes; 4]) -> [f32; 4] {
    let folded = |k: usize| {
        let [low, high] = halves(&x[k]);
        let eight = _mm256_add_ps(low, high);
        _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight))
    };
    let pair = |a: __m128, b: __m128| {
        _mm_add_ps(_mm_shuffle_ps::<0b01_00_01_00>(a, b), _mm_shuffle_ps::<0b11_10_11_10>(a, b))
    };
    let (first, second) = (pair(folded(0), folded(1)), pair(folded(2), folded(3)));
    let even = _mm_shuffle_ps::<0b10_00_10_00>(first, second);
    let sums = _mm_add_ps(even, _mm_shuffle_ps::<0b11_01_11_01>(first, second));
    let mut out = [0.0; 4];
    // SAFETY: four floats are stored into four.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
    out
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(x: &Lanes) -> [__m256; 2] {
    // SAFETY: the reference is to sixteen readable floats.
    unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
}

/// See [`super::LaneOps::sums_of_16`]. (Inlined always: the compiler would call it.)
///
/// # Safety
///
/// The CPU has AVX-512F.
#[inline(always)]
pub(super) unsafe fn sums_of_16(x: &[Lanes; 16]) -> Lanes {
    // Group 4 j + k comes k-th of the j-th four, so that the last step leaves them in order.
    // SAFETY: the caller's; sixteen floats are stored into sixteen.
    unsafe {
        let [a, b, c, d] = [fours(x, 0), fours(x, 1), fours(x, 2), fours(x, 3)];
        let (first, second) = (twos(a, b), twos(c, d));
        let even = _mm512_shuffle_ps::<0b10_00_10_00>(first, second);
        let sums = _mm512_add_ps(even, _mm512_shuffle_ps::<0b11_01_11_01>(first, second));
        let mut out = [0.0; 16];
        _mm512_storeu_ps(out.as_mut_ptr(), sums);
        out
    }
}

/// Lanes l, l+4, l+8 and l+12 of groups k, k+4, k+8 and k+12, a quarter of the vector for each.
#[inline]
#[target_feature(enable = "avx512f")]
fn fours(x: &[Lanes; 16], k: usize) -> __m512 {
    let eights = |a: &Lanes, b: &Lanes| {
        // SAFETY: the references are to sixteen readable floats each.
        let (a, b) = unsafe { (_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr())) };
        let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
        _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
    };
    let (ab, cd) = (eights(&x[k], &x[k + 4]), eights(&x[k + 8], &x[k + 12]));
    let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
    _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd))
}

/// Lanes l and l+2 of every quarter of both vectors, side by side.
#[inline]
#[target_feature(enable = "avx512f")]
fn twos(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(a, b), _mm512_shuffle_ps::<0b11_10_11_10>(a, b))
}
