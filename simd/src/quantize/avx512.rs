//! The activation quantisers for AVX-512.
//!
//! As for AVX2, with sixteen values to a vector: the conversions to bytes need no packing, and the
//! sums of codes take one `vpdpbusd` for 64 codes. About 130 instructions per 256 values.

use core::arch::x86_64::*;

use super::avx2::{maxima_of_8, scalings};
use super::{Scaling, scaling};
use crate::activation::{Q8KWindow, Q8Window, WINDOW_LEN};
use crate::array;
use crate::isa::avx2::{store_f32, store_i16, store_i32};
use crate::isa::avx512::{load_codes, load_f32, sums_of_8};

/// See [`super::q8_0`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn q8_k(x: &[f32], out: &mut [Q8KWindow]) {
    for (x, out) in x.as_chunks::<WINDOW_LEN>().0.iter().zip(out) {
        let x = x.as_chunks::<16>().0;
        let (mut magnitudes, mut tops) = (_mm512_setzero_si512(), _mm512_set1_epi32(i32::MIN));
        for x in x {
            let bits = _mm512_castps_si512(load_f32(x));
            magnitudes = _mm512_max_epi32(magnitudes, magnitude(bits));
            tops = _mm512_max_epi32(tops, bits);
        }
        let magnitude = f32::from_bits(_mm512_reduce_max_epi32(magnitudes).cast_unsigned());
        let is_positive = _mm512_reduce_max_epi32(tops).cast_unsigned() == magnitude.to_bits();
        let Scaling { scale, inverse } = scaling(magnitude, if is_positive { -magnitude } else { magnitude });
        out.scale = scale;
        for (x, codes) in x.iter().zip(out.codes.as_chunks_mut::<16>().0) {
            encode(x, inverse, codes);
        }
        store_i16(&mut out.sums, sums_of_16(quarters(&out.codes)));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn q8_0_window(x: &[f32; WINDOW_LEN], out: &mut Q8Window) {
    let groups = x.as_chunks::<32>().0;
    let magnitudes = maxima_of_8(array::eight(|k| {
        let bits = |i: usize| magnitude(_mm512_castps_si512(load_f32(&groups[k].as_chunks().0[i])));
        let both = _mm512_max_epi32(bits(0), bits(1));
        _mm256_max_epi32(_mm512_castsi512_si256(both), _mm512_extracti64x4_epi64::<1>(both))
    }));
    let (scales, inverses) = scalings(magnitudes);
    store_f32(&mut out.scales, scales);
    let mut inverse = [0.0; 8];
    store_f32(&mut inverse, inverses);
    let halves = x.as_chunks::<16>().0.iter().zip(out.codes.as_chunks_mut::<16>().0);
    for (i, (x, codes)) in halves.enumerate() {
        encode(x, inverse[i / 2], codes);
    }
    store_i32(&mut out.sums, sums_of_8(quarters(&out.codes)));
}

/// The magnitudes of sixteen floats, as integers that order alike.
#[inline]
#[target_feature(enable = "avx512f")]
fn magnitude(bits: __m512i) -> __m512i {
    _mm512_and_si512(bits, _mm512_set1_epi32(i32::MAX))
}

/// `round(x * inverse)`; zero where the product is NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn encode(x: &[f32; 16], inverse: f32, codes: &mut [i8; 16]) {
    let value = _mm512_mul_ps(load_f32(x), _mm512_set1_ps(inverse));
    let is_number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(value, value);
    let rounded = _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(is_number, value));
    // SAFETY: the reference is to 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), rounded) }
}

/// Sums of four neighbouring codes each: lane `i` of vector `k` for codes `64 * k + 4 * i ..`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn quarters(codes: &[i8; WINDOW_LEN]) -> [__m512i; 4] {
    array::four(|k| {
        let codes = load_codes(&codes.as_chunks().0[k]);
        _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), codes)
    })
}

/// The sums of the quarters, four lanes each, of four vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums_of_16(v: [__m512i; 4]) -> __m256i {
    let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (first, second) = (pairs(v[0], v[1]), pairs(v[2], v[3]));
    // Lane 4 q + i: quarter q of vector i.
    let sums = _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_cvtepi32_epi16(_mm512_permutexvar_epi32(order, sums))
}
