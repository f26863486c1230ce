//! The AVX2 kernels of the K types: what they share.
//!
//! Data flow, eight super-blocks at a time:
//!
//! ```text
//! 8 x 32 codes --vpmaddubsw with 8 x 32 activations--> 8 x 16 i16 --vpmaddwd with their scales,
//!    added--> 8 i32 of one super-block
//! 8 such vectors --horizontal adds--> isum of 8 super-blocks in 8 lanes --convert--+
//! 8 x 8 i32 of minima times activation sums --the same--> msum ---------------------+
//! 8 times d, dmin --convert, times dy-----------------------------------------------+--> 8 terms
//! ```
//!
//! and the terms are added to the sums of their rows, late, by [`RowSums`]; a group goes on across the
//! ends of rows. A lane of `vpmaddubsw` holds two products of at most 63 * 127, together 16002: it never
//! saturates. The bound of `isum` stands in each type's scalar code.

use core::arch::x86_64::*;

use crate::activation::Q8KWindow;
use crate::block::row_sums::RowSums;
use crate::isa::avx2::{load_codes, load_f32, load_i32, prefetch_ahead, store_f32, sums_of_8};

/// Super-blocks worked on together, one per lane.
const GROUP: usize = 8;

/// `out[r] = w[r] . x` for types with minima, whose blocks of `B` bytes hold `d` and `dmin` at byte `AT`.
/// `sums` gives lanes that add up to `isum` and to `msum`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv_with_minima<const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    sums: impl Fn(&[u8; B], &Q8KWindow) -> (__m256i, __m256i),
) {
    let (mut now, mut before) = (&mut WithMinima::new(), &mut WithMinima::new());
    let mut lane = 0;
    let mut rows = RowSums::new(out, x.len());
    let mut at = 0;
    for row in weights.chunks_exact(B * x.len()) {
        for (block, y) in row.as_chunks::<B>().0.iter().zip(x) {
            prefetch_ahead(weights, at, B);
            at += B;
            (now.isums[lane], now.msums[lane]) = sums(block, y);
            now.halves[lane] = i32::from_le_bytes([block[AT], block[AT + 1], block[AT + 2], block[AT + 3]]);
            now.dys[lane] = y.scale;
            rows.add_late(lane);
            lane += 1;
            if lane == GROUP {
                core::mem::swap(&mut now, &mut before);
                rows.replace(now.terms());
                lane = 0;
            }
        }
    }
    rows.finish(lane, before.terms(), now.terms());
}

/// `out[r] = w[r] . x` for types without minima, whose blocks of `B` bytes hold `d` at byte `AT`.
/// `sum` gives lanes that add up to `isum`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv<const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    sum: impl Fn(&[u8; B], &Q8KWindow) -> __m256i,
) {
    gemv_in_units(weights, x, out, 1.0, |block| [block[AT], block[AT + 1]], sum);
}

/// [`gemv`] for types whose blocks give `d` by a function and have it in `unit`s.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv_in_units<const B: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    unit: f32,
    d: impl Fn(&[u8; B]) -> [u8; 2],
    sum: impl Fn(&[u8; B], &Q8KWindow) -> __m256i,
) {
    let (mut now, mut before) = (&mut WithoutMinima::new(), &mut WithoutMinima::new());
    let mut lane = 0;
    let mut rows = RowSums::new(out, x.len());
    let mut at = 0;
    for row in weights.chunks_exact(B * x.len()) {
        for (block, y) in row.as_chunks::<B>().0.iter().zip(x) {
            prefetch_ahead(weights, at, B);
            at += B;
            now.isums[lane] = sum(block, y);
            now.halves[lane] = i32::from(u16::from_le_bytes(d(block)));
            now.dys[lane] = y.scale * unit;
            rows.add_late(lane);
            lane += 1;
            if lane == GROUP {
                core::mem::swap(&mut now, &mut before);
                rows.replace(now.terms());
                lane = 0;
            }
        }
    }
    rows.finish(lane, before.terms(), now.terms());
}

/// What a group of super-blocks with minima has stored.
struct WithMinima {
    /// Lanes that add up to `isum`.
    isums: [__m256i; GROUP],
    /// Lanes that add up to `msum`.
    msums: [__m256i; GROUP],
    /// `d` in the low half, `dmin` in the high one.
    halves: [i32; GROUP],
    dys: [f32; GROUP],
}

impl WithMinima {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new() -> Self {
        Self {
            isums: [_mm256_setzero_si256(); GROUP],
            msums: [_mm256_setzero_si256(); GROUP],
            halves: [0; GROUP],
            dys: [0.0; GROUP],
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn terms(&self) -> [f32; GROUP] {
        let (dy, halves) = (load_f32(&self.dys), load_i32(&self.halves));
        let low = _mm256_and_si256(halves, _mm256_set1_epi32(0xffff));
        let d = _mm256_mul_ps(halves_to_f32(low), dy);
        let dmin = _mm256_mul_ps(halves_to_f32(_mm256_srli_epi32::<16>(halves)), dy);
        let isum = _mm256_cvtepi32_ps(sums_of_8(self.isums));
        let msum = _mm256_cvtepi32_ps(sums_of_8(self.msums));
        let terms = _mm256_fnmadd_ps(msum, dmin, _mm256_mul_ps(isum, d));
        let mut lanes = [0.0; GROUP];
        store_f32(&mut lanes, terms);
        lanes
    }
}

/// What a group of super-blocks without minima has stored.
struct WithoutMinima {
    /// Lanes that add up to `isum`.
    isums: [__m256i; GROUP],
    /// `d`.
    halves: [i32; GROUP],
    dys: [f32; GROUP],
}

impl WithoutMinima {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new() -> Self {
        Self { isums: [_mm256_setzero_si256(); GROUP], halves: [0; GROUP], dys: [0.0; GROUP] }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn terms(&self) -> [f32; GROUP] {
        let d = _mm256_mul_ps(halves_to_f32(load_i32(&self.halves)), load_f32(&self.dys));
        let isum = _mm256_cvtepi32_ps(sums_of_8(self.isums));
        let terms = _mm256_fmadd_ps(isum, d, _mm256_setzero_ps());
        let mut lanes = [0.0; GROUP];
        store_f32(&mut lanes, terms);
        lanes
    }
}

/// The values of eight halves, each the only bits of its lane.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves_to_f32(lanes: __m256i) -> __m256 {
    let packed = _mm256_packus_epi32(lanes, lanes);
    _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b10_00>(packed)))
}

/// The sums of two products of the 32 unsigned codes with activations `32 j ..`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn dot(codes: __m256i, y: &Q8KWindow, j: usize) -> __m256i {
    _mm256_maddubs_epi16(codes, load_codes(&y.codes.as_chunks().0[j]))
}

/// The sums of 16 activation codes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_sums(y: &Q8KWindow) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(y.sums.as_ptr().cast()) }
}

/// Lanes that add up to `msum`: each minimum meets both sums of its sub-block.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn minima_sums(minima: [u8; 8], y: &Q8KWindow) -> __m256i {
    const PLACES: [i8; 32] = {
        let mut places = [-1; 32];
        let mut word = 0;
        while word < 16 {
            places[2 * word] = word as i8 / 2;
            word += 1;
        }
        places
    };
    let minima = _mm256_set1_epi64x(i64::from_le_bytes(minima));
    _mm256_madd_epi16(_mm256_shuffle_epi8(minima, load_codes(&PLACES)), load_sums(y))
}

/// Lanes that add up to the scaled sum of a super-block of eight sub-blocks; `dot(j)` gives the
/// 16-bit sums of sub-block `j`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn scaled_by_32(scales: [u8; 8], dot: impl Fn(usize) -> __m256i) -> __m256i {
    const PLACES: [[i8; 32]; 8] = {
        let mut places = [[-1; 32]; 8];
        let mut i = 0;
        while i < 8 * 16 {
            places[i / 16][2 * (i % 16)] = i as i8 / 16;
            i += 1;
        }
        places
    };
    let scales = _mm256_set1_epi64x(i64::from_le_bytes(scales));
    let mut sum = _mm256_setzero_si256();
    for (j, places) in PLACES.iter().enumerate() {
        let scale = _mm256_shuffle_epi8(scales, load_codes(places));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(dot(j), scale));
    }
    sum
}

/// Lanes that add up to the scaled sum of a super-block of sixteen sub-blocks, whose scales are `i8`;
/// `dot(k)` gives the 16-bit sums of sub-blocks `2 k` and `2 k + 1` in a half each.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn scaled_by_16(scales: __m128i, dot: impl Fn(usize) -> __m256i) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for k in 0..8 {
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(dot(k), two_scales(scales, k)));
    }
    sum
}

/// Scales `2 k` and `2 k + 1`, of `i8`, as the 16-bit numbers of a half each.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn two_scales(scales: __m128i, k: usize) -> __m256i {
    let eight = |j: usize| j as i64 * 0x0101_0101_0101_0101;
    let places = _mm_set_epi64x(eight(2 * k + 1), eight(2 * k));
    _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, places))
}

/// Each byte shifted down by `n`, in `0..=6`, with bits of its neighbour above the bits that are left.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn shifted_down(bytes: __m256i, n: usize) -> __m256i {
    match n {
        0 => bytes,
        1 => _mm256_srli_epi16::<1>(bytes),
        2 => _mm256_srli_epi16::<2>(bytes),
        3 => _mm256_srli_epi16::<3>(bytes),
        4 => _mm256_srli_epi16::<4>(bytes),
        5 => _mm256_srli_epi16::<5>(bytes),
        _ => _mm256_srli_epi16::<6>(bytes),
    }
}
