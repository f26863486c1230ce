//! The activation quantisers for AVX2.
//!
//! Data flow of a window for Q8_0: eight groups of 32 give eight vectors of magnitudes (as
//! integers), a transposing maximum leaves the eight extremes in one vector, whose scales and
//! inverses are computed together; then each group is multiplied by its inverse, rounded (to nearest
//! even, the conversion's own mode) and packed. About 300 instructions per 256 values.

use core::arch::x86_64::*;

use super::{SMALLEST, Scaling, scaling};
use crate::activation::{Q8KWindow, Q8Window, WINDOW_LEN};
use crate::array;
use crate::isa::avx2::{load_codes, load_f32, store_codes, store_f32, store_i16, store_i32, sums_of_8};

/// See [`super::q8_0`].
#[target_feature(enable = "avx2")]
pub(crate) fn q8_0(x: &[f32], out: &mut [Q8Window]) {
    let (windows, rest) = x.as_chunks::<WINDOW_LEN>();
    for (x, out) in windows.iter().zip(&mut *out) {
        q8_0_window(x, out);
    }
    if let Some(last) = out.last_mut().filter(|_| !rest.is_empty()) {
        let mut padded = [0.0; WINDOW_LEN];
        padded[..rest.len()].copy_from_slice(rest);
        q8_0_window(&padded, last);
    }
}

/// See [`super::q8_k`].
#[target_feature(enable = "avx2")]
pub(crate) fn q8_k(x: &[f32], out: &mut [Q8KWindow]) {
    for (x, out) in x.as_chunks::<WINDOW_LEN>().0.iter().zip(out) {
        let (mut magnitudes, mut tops) = (_mm256_setzero_si256(), _mm256_set1_epi32(i32::MIN));
        for x in x.as_chunks::<8>().0 {
            let bits = _mm256_castps_si256(load_f32(x));
            magnitudes = _mm256_max_epi32(magnitudes, magnitude(bits));
            tops = _mm256_max_epi32(tops, bits);
        }
        let magnitude = f32::from_bits(maximum(magnitudes) as u32);
        let is_positive = maximum(tops) as u32 == magnitude.to_bits();
        let Scaling { scale, inverse } = scaling(magnitude, if is_positive { -magnitude } else { magnitude });
        out.scale = scale;
        for (x, codes) in x.as_chunks::<32>().0.iter().zip(out.codes.as_chunks_mut::<32>().0) {
            store_codes(codes, encode(x, inverse));
        }
        out.sums = sums_of_16(&out.codes);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn q8_0_window(x: &[f32; WINDOW_LEN], out: &mut Q8Window) {
    let groups = x.as_chunks::<32>().0;
    let magnitudes = maxima_of_8(array::eight(|k| {
        let bits = |i: usize| magnitude(_mm256_castps_si256(load_f32(&groups[k].as_chunks().0[i])));
        _mm256_max_epi32(_mm256_max_epi32(bits(0), bits(1)), _mm256_max_epi32(bits(2), bits(3)))
    }));
    let (scales, inverses) = scalings(magnitudes);
    store_f32(&mut out.scales, scales);
    let mut inverse = [0.0; 8];
    store_f32(&mut inverse, inverses);
    for (k, codes) in out.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        store_codes(codes, encode(&groups[k], inverse[k]));
    }
    store_i32(&mut out.sums, sums_of_8(quarters(&out.codes)));
}

/// The magnitudes of eight floats, as integers that order alike.
#[inline]
#[target_feature(enable = "avx2")]
fn magnitude(bits: __m256i) -> __m256i {
    _mm256_and_si256(bits, _mm256_set1_epi32(i32::MAX))
}

/// [`scaling`] of eight extremes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn scalings(magnitudes: __m256i) -> (__m256, __m256) {
    let (extremes, top) = (_mm256_castsi256_ps(magnitudes), _mm256_set1_ps(127.0));
    let is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(SMALLEST.to_bits() as i32), magnitudes);
    let is_special = _mm256_cmpgt_epi32(magnitudes, _mm256_set1_epi32(f32::MAX.to_bits() as i32));
    let neither = _mm256_castsi256_ps(_mm256_or_si256(is_small, is_special));
    let inverses = _mm256_andnot_ps(neither, _mm256_div_ps(top, extremes));
    let scales = _mm256_andnot_ps(neither, _mm256_div_ps(extremes, top));
    (_mm256_blendv_ps(scales, _mm256_set1_ps(f32::NAN), _mm256_castsi256_ps(is_special)), inverses)
}

/// `round(x * inverse)`; zero where the product is NaN.
#[inline]
#[target_feature(enable = "avx2")]
fn encode(x: &[f32; 32], inverse: f32) -> __m256i {
    let rounded = |i: usize| {
        let value = _mm256_mul_ps(load_f32(&x.as_chunks().0[i]), _mm256_set1_ps(inverse));
        let is_number = _mm256_cmp_ps::<_CMP_ORD_Q>(value, value);
        _mm256_cvtps_epi32(_mm256_and_ps(value, is_number))
    };
    let words = |i: usize| _mm256_packs_epi32(rounded(i), rounded(i + 1));
    // Packing works inside 128 bits; the order of the quarters is put right at the end.
    let bytes = _mm256_packs_epi16(words(0), words(2));
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Sums of four neighbouring codes each: lane `i` of vector `k` for codes `32 * k + 4 * i ..`.
#[inline]
#[target_feature(enable = "avx2")]
fn quarters(codes: &[i8; WINDOW_LEN]) -> [__m256i; 8] {
    array::eight(|k| {
        let codes = load_codes(&codes.as_chunks().0[k]);
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes), _mm256_set1_epi16(1))
    })
}

/// The sum of each 16 codes.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of_16(codes: &[i8; WINDOW_LEN]) -> [i16; 16] {
    let v = quarters(codes);
    // The lower half holds the first sixteen of four groups, the upper half the others.
    let halves = |i: usize| {
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[i], v[i + 1]), _mm256_hadd_epi32(v[i + 2], v[i + 3]))
    };
    let words = _mm256_packs_epi32(halves(0), halves(4));
    // Now 0 2 4 6 8 .. 14 in the lower half and 1 3 5 .. in the upper.
    let (even, odd) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
    let mut sums = [0; 16];
    store_i16(&mut sums, _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd)));
    sums
}

/// The largest lane.
#[inline]
#[target_feature(enable = "avx2")]
fn maximum(v: __m256i) -> i32 {
    let mut lanes = [0; 8];
    store_i32(&mut lanes, v);
    lanes.into_iter().fold(i32::MIN, i32::max)
}

/// The largest lanes of eight vectors: lane `k` is that of `v[k]`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn maxima_of_8(v: [__m256i; 8]) -> __m256i {
    let pairs = |i: usize| {
        _mm256_max_epi32(_mm256_unpacklo_epi32(v[i], v[i + 1]), _mm256_unpackhi_epi32(v[i], v[i + 1]))
    };
    let quads = |i: usize| {
        let (a, b) = (pairs(i), pairs(i + 2));
        _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b))
    };
    let (first, second) = (quads(0), quads(4));
    _mm256_max_epi32(
        _mm256_permute2x128_si256::<0x20>(first, second),
        _mm256_permute2x128_si256::<0x31>(first, second),
    )
}
