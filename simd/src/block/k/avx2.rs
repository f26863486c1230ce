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
use crate::array;
use crate::block::row_sums::RowSums;
use crate::columns::{ColumnsMut, columns_of};
use crate::isa::avx2::{load_codes, load_f32, load_i32, store_f32, sums_of_8};

/// Super-blocks worked on together, one per lane.
const GROUP: usize = 8;

/// Rows times `NC` columns, for types with minima, whose blocks of `B` bytes hold `d` and `dmin` at byte `AT`.
/// `sums(block, ys)` gives lanes that add up to `isum` and to `msum`, with each column.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv_with_minima<const NC: usize, const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut ColumnsMut<'_>,
    sums: impl Fn(&[u8; B], [&Q8KWindow; NC]) -> [(__m256i, __m256i); NC],
) {
    let (mut now, mut before) = (&mut WithMinima::<NC>::new(), &mut WithMinima::new());
    let mut lane = 0;
    let x: [_; NC] = columns_of(x);
    let mut rows = RowSums::new(out, x[0].len());
    for row in weights.chunks_exact(B * x[0].len()) {
        for (w, (block, _)) in row.as_chunks::<B>().0.iter().zip(x[0]).enumerate() {
            let sums = sums(block, array::each(|c| &x[c][w]));
            now.halves[lane] = i32::from_le_bytes([block[AT], block[AT + 1], block[AT + 2], block[AT + 3]]);
            for (c, sums) in sums.iter().enumerate() {
                (now.isums[c][lane], now.msums[c][lane]) = *sums;
                now.dys[c][lane] = x[c][w].scale;
            }
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

/// Rows times `NC` columns, for types without minima, whose blocks of `B` bytes hold `d` at byte `AT`.
/// `sums(block, ys)` gives lanes that add up to `isum`, with each column.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv<const NC: usize, const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut ColumnsMut<'_>,
    sums: impl Fn(&[u8; B], [&Q8KWindow; NC]) -> [__m256i; NC],
) {
    gemv_in_units::<NC, B>(weights, x, out, 1.0, |block| [block[AT], block[AT + 1]], sums);
}

/// [`gemv`] for types whose blocks give `d` by a function and have it in `unit`s.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv_in_units<const NC: usize, const B: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut ColumnsMut<'_>,
    unit: f32,
    d: impl Fn(&[u8; B]) -> [u8; 2],
    sums: impl Fn(&[u8; B], [&Q8KWindow; NC]) -> [__m256i; NC],
) {
    let (mut now, mut before) = (&mut WithoutMinima::<NC>::new(), &mut WithoutMinima::new());
    let mut lane = 0;
    let x: [_; NC] = columns_of(x);
    let mut rows = RowSums::new(out, x[0].len());
    for row in weights.chunks_exact(B * x[0].len()) {
        for (w, (block, _)) in row.as_chunks::<B>().0.iter().zip(x[0]).enumerate() {
            let sums = sums(block, array::each(|c| &x[c][w]));
            now.halves[lane] = i32::from(u16::from_le_bytes(d(block)));
            for (c, sum) in sums.iter().enumerate() {
                now.isums[c][lane] = *sum;
                now.dys[c][lane] = x[c][w].scale * unit;
            }
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

/// What a group of super-blocks with minima has stored, for each column.
struct WithMinima<const NC: usize> {
    /// Lanes that add up to `isum`.
    isums: [[__m256i; GROUP]; NC],
    /// Lanes that add up to `msum`.
    msums: [[__m256i; GROUP]; NC],
    /// `d` in the low half, `dmin` in the high one.
    halves: [i32; GROUP],
    dys: [[f32; GROUP]; NC],
}

impl<const NC: usize> WithMinima<NC> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new() -> Self {
        Self {
            isums: [[_mm256_setzero_si256(); GROUP]; NC],
            msums: [[_mm256_setzero_si256(); GROUP]; NC],
            halves: [0; GROUP],
            dys: [[0.0; GROUP]; NC],
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn terms(&self) -> [[f32; GROUP]; NC] {
        let halves = load_i32(&self.halves);
        let d = halves_to_f32(_mm256_and_si256(halves, _mm256_set1_epi32(0xffff)));
        let dmin = halves_to_f32(_mm256_srli_epi32::<16>(halves));
        let mut lanes = [[0.0; GROUP]; NC];
        for (c, lanes) in lanes.iter_mut().enumerate() {
            let dy = load_f32(&self.dys[c]);
            let isum = _mm256_cvtepi32_ps(sums_of_8(self.isums[c]));
            let msum = _mm256_cvtepi32_ps(sums_of_8(self.msums[c]));
            let term = _mm256_mul_ps(isum, _mm256_mul_ps(d, dy));
            store_f32(lanes, _mm256_fnmadd_ps(msum, _mm256_mul_ps(dmin, dy), term));
        }
        lanes
    }
}

/// What a group of super-blocks without minima has stored, for each column.
struct WithoutMinima<const NC: usize> {
    /// Lanes that add up to `isum`.
    isums: [[__m256i; GROUP]; NC],
    /// `d`.
    halves: [i32; GROUP],
    dys: [[f32; GROUP]; NC],
}

impl<const NC: usize> WithoutMinima<NC> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new() -> Self {
        Self { isums: [[_mm256_setzero_si256(); GROUP]; NC], halves: [0; GROUP], dys: [[0.0; GROUP]; NC] }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn terms(&self) -> [[f32; GROUP]; NC] {
        let d = halves_to_f32(load_i32(&self.halves));
        let mut lanes = [[0.0; GROUP]; NC];
        for (c, lanes) in lanes.iter_mut().enumerate() {
            let d = _mm256_mul_ps(d, load_f32(&self.dys[c]));
            let isum = _mm256_cvtepi32_ps(sums_of_8(self.isums[c]));
            store_f32(lanes, _mm256_fmadd_ps(isum, d, _mm256_setzero_ps()));
        }
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

/// Lanes that add up to the scaled sum of a super-block of eight sub-blocks with each column; `codes(j)` gives the
/// unsigned codes of sub-block `j`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn scaled_by_32<const NC: usize>(
    scales: [u8; 8],
    codes: impl Fn(usize) -> __m256i,
    ys: [&Q8KWindow; NC],
) -> [__m256i; NC] {
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
    let mut sums = [_mm256_setzero_si256(); NC];
    for (j, places) in PLACES.iter().enumerate() {
        let (scale, codes) = (_mm256_shuffle_epi8(scales, load_codes(places)), codes(j));
        sums = array::each(|c| _mm256_add_epi32(sums[c], _mm256_madd_epi16(dot(codes, ys[c], j), scale)));
    }
    sums
}

/// Lanes that add up to the scaled sum of a super-block of sixteen sub-blocks with each column, whose scales are
/// `i8`; `codes(k)` gives the unsigned codes of sub-blocks `2 k` and `2 k + 1`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn scaled_by_16<const NC: usize>(
    scales: __m128i,
    codes: impl Fn(usize) -> __m256i,
    ys: [&Q8KWindow; NC],
) -> [__m256i; NC] {
    let mut sums = [_mm256_setzero_si256(); NC];
    for k in 0..8 {
        let (scale, codes) = (two_scales(scales, k), codes(k));
        sums = array::each(|c| _mm256_add_epi32(sums[c], _mm256_madd_epi16(dot(codes, ys[c], k), scale)));
    }
    sums
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
