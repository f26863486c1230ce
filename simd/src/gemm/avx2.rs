//! The AVX2 tiles: two vectors hold four codes of each of sixteen rows.
//!
//! `vpmaddubsw` multiplies unsigned codes with the four codes of a column, broadcast, and adds them in
//! pairs of 16 bits. As many of those as fit 16 bits are summed before one `vpmaddwd` widens them,
//! multiplying with the scale on its way where that is an integer: 8 for codes of 4 bits
//! (8 * 2 * 15 * 127 = 30480), 4 for 5 bits (31496), 2 for 6 bits (32004). Codes of 8 bits stay
//! signed: the column takes the sign of the code, whose magnitude is at most 128
//! (2 * 128 * 127 = 32512).

use core::arch::x86_64::*;

use crate::columns::ColumnsMut;
use crate::gemm::float::{self, Float};
use crate::gemm::{Column, Format, Gemm, ROWS, Rows, Sums, Tier, Tile, block32, driver, k};
use crate::isa::Avx2;
use dots::{add_pairs, add_scaled_dots, add_signed_dots, unsigned_dots};
use memory::{load, load_f32, store_f32};
use quad::Quad;

mod dots;
mod memory;
mod quad;

/// A batch product for AVX2; see [`crate::gemm`].
#[target_feature(enable = "avx2,fma,f16c")]
fn gemm<const N: usize, F: Format<N>>(weights: &[u8], x: &[F::Window], out: &mut ColumnsMut<'_>) {
    let tier = Avx2::detect().expect("this tier's kernels run on CPUs that have it");
    driver::run::<N, F, _>(tier, weights, x, out);
}

/// A batch product of a float type for AVX2; see [`crate::gemm::float`].
#[target_feature(enable = "avx2,fma,f16c")]
fn float_gemm<const N: usize, F: Float<N>>(weights: &[u8], x: &[f32], out: &mut ColumnsMut<'_>) {
    let tier = Avx2::detect().expect("this tier's kernels run on CPUs that have it");
    float::run::<N, F, _, 2, 3>(tier, weights, x, out);
}

impl Tier for Avx2 {
    type Quad = Quad;
    type Lanes = [__m256; 2];
    const BYTE_BIAS: i32 = 0;
    const MAX_COLUMNS: usize = 4;
    const MIN_COLUMNS: usize = 2;

    #[inline(always)]
    fn quads<const N: usize>(self, rows: &Rows<'_, N>, at: usize) -> [Quad; 4] {
        assert!(at + 16 <= N, "bytes {at}.. of {N}");
        // SAFETY: `self` proves the features; the bytes are inside the rows.
        unsafe { quad::transposed(rows, at) }
    }

    #[inline(always)]
    fn splat(self, bytes: u32) -> Quad {
        // SAFETY: `self` proves the features; so below.
        Quad([unsafe { _mm256_set1_epi32(bytes.cast_signed()) }; 2])
    }

    #[inline(always)]
    fn store(self, quad: Quad, out: &mut [u8; 64]) {
        // SAFETY: see `splat`; two times 32 bytes are stored into 64.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), quad.0[0]);
            _mm256_storeu_si256(out.as_mut_ptr().add(32).cast(), quad.0[1]);
        }
    }

    #[inline(always)]
    fn store_pairs(self, quad: Quad, out: &mut [i32; ROWS]) {
        // SAFETY: see `splat`; two times 8 integers are stored into 16.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), quad.0[0]);
            _mm256_storeu_si256(out.as_mut_ptr().add(8).cast(), quad.0[1]);
        }
    }

    #[inline(always)]
    fn store_scales(self, quad: Quad, out: &mut [[i32; ROWS]; 4]) {
        // SAFETY: see `splat`.
        let [a, b, c, d] = unsafe { quad::scales(quad) };
        self.store_pairs(a, &mut out[0]);
        self.store_pairs(b, &mut out[1]);
        self.store_pairs(c, &mut out[2]);
        self.store_pairs(d, &mut out[3]);
    }

    #[inline(always)]
    fn store_f16(self, quad: Quad, out: &mut [f32; ROWS]) {
        // SAFETY: see `splat`.
        unsafe { quad::store_f16(quad, out) }
    }

    #[inline(always)]
    fn signed_codes(self, quad: Quad) -> Quad {
        quad
    }

    #[inline(always)]
    fn spread_bits(self, quad: Quad) -> Quad {
        // SAFETY: see `splat`.
        unsafe { quad::spread_bits(quad) }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], quad: Quad) -> Quad {
        // SAFETY: see `splat`.
        unsafe { quad::lookup(table, quad) }
    }

    #[inline(always)]
    fn store_half_powers(self, quad: Quad, out: &mut [f32; ROWS]) {
        // SAFETY: see `splat`.
        unsafe { quad::store_half_powers(quad, out) }
    }

    /// Half the sum twice, as a pair of `i16` that `vpmaddwd` multiplies with a pair of scales.
    #[inline(always)]
    fn first_sum(sum: i32) -> i32 {
        (sum / 2) & 0xffff | (sum / 2) << 16
    }

    #[inline(always)]
    fn prefetch<V>(self, value: &V) {
        crate::isa::avx2::prefetch(value);
    }

    #[inline(always)]
    fn zero_lanes(self) -> [__m256; 2] {
        // SAFETY: see `splat`.
        [unsafe { _mm256_setzero_ps() }; 2]
    }

    #[inline(always)]
    fn f32_lanes(self, values: &[f32; 16]) -> [__m256; 2] {
        // SAFETY: see `splat`; 16 floats are loaded from 16.
        unsafe { [_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn f32_le_lanes(self, values: &[[u8; 4]; 16]) -> [__m256; 2] {
        let first = values.as_ptr().cast::<f32>();
        // SAFETY: see `splat`; 64 bytes are loaded from 64.
        unsafe { [_mm256_loadu_ps(first), _mm256_loadu_ps(first.add(8))] }
    }

    #[inline(always)]
    fn f16_lanes(self, values: &[[u8; 2]; 16]) -> [__m256; 2] {
        let bytes = values.as_ptr().cast::<__m128i>();
        // SAFETY: see `splat`; 32 bytes are loaded from 32.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(bytes)), _mm256_cvtph_ps(_mm_loadu_si128(bytes.add(1)))] }
    }

    #[inline(always)]
    fn bf16_lanes(self, values: &[[u8; 2]; 16]) -> [__m256; 2] {
        let bytes = values.as_ptr().cast::<__m128i>();
        // SAFETY: see `splat`; 32 bytes are loaded from 32.
        unsafe {
            let (low, high) = (_mm_loadu_si128(bytes), _mm_loadu_si128(bytes.add(1)));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(low))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(high))),
            ]
        }
    }

    #[inline(always)]
    fn fma(self, w: [__m256; 2], x: [__m256; 2], sum: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: see `splat`.
        unsafe { [_mm256_fmadd_ps(w[0], x[0], sum[0]), _mm256_fmadd_ps(w[1], x[1], sum[1])] }
    }

    #[inline(always)]
    fn store_lanes(self, lanes: [__m256; 2], out: &mut [f32; 16]) {
        // SAFETY: see `splat`; 16 floats are stored into 16.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), lanes[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), lanes[1]);
        }
    }

    fn gemm<const N: usize, F: Format<N>>() -> Gemm<F::Window> {
        gemm::<N, F>
    }

    fn float_gemm<const N: usize, F: Float<N>>() -> Gemm<f32> {
        float_gemm::<N, F>
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        match (class.sub_words, class.minima, class.bits) {
            (8, true, 4) => TILES_K_8_MINIMA_4_BITS[n_columns - 1],
            (8, true, 5) => TILES_K_8_MINIMA_5_BITS[n_columns - 1],
            (4, false, 6) => TILES_K_4_6_BITS[n_columns - 1],
            _ => unreachable!("no type has this class"),
        }
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        match (class.minima, class.bits) {
            (false, 4) => TILES_32_4_BITS[n_columns - 1],
            (false, 5) => TILES_32_5_BITS[n_columns - 1],
            (false, 8) => TILES_32_8_BITS[n_columns - 1],
            (true, 4) => TILES_32_MINIMA_4_BITS[n_columns - 1],
            (true, 5) => TILES_32_MINIMA_5_BITS[n_columns - 1],
            _ => unreachable!("no type has this class"),
        }
    }
}

/// A table of the tiles of a class, by the number of columns less one.
macro_rules! tiles {
    ($tile:ident $(, $class:expr)*) => {
        [$tile::<1 $(, $class)*>, $tile::<2 $(, $class)*>, $tile::<3 $(, $class)*>, $tile::<4 $(, $class)*>]
    };
}

type Tiles<Panel> = [Tile<Panel>; Avx2::MAX_COLUMNS];
static TILES_K_8_MINIMA_4_BITS: Tiles<k::Panel> = tiles!(tile_k, 8, true, 8);
static TILES_K_8_MINIMA_5_BITS: Tiles<k::Panel> = tiles!(tile_k, 8, true, 4);
static TILES_K_4_6_BITS: Tiles<k::Panel> = tiles!(tile_k, 4, false, 2);
static TILES_32_4_BITS: Tiles<block32::Panel> = tiles!(tile_32, false, 8);
static TILES_32_5_BITS: Tiles<block32::Panel> = tiles!(tile_32, false, 4);
static TILES_32_8_BITS: Tiles<block32::Panel> = tiles!(tile_32, false, 1);
static TILES_32_MINIMA_4_BITS: Tiles<block32::Panel> = tiles!(tile_32, true, 8);
static TILES_32_MINIMA_5_BITS: Tiles<block32::Panel> = tiles!(tile_32, true, 4);

/// One vector for the upper eight rows, one for the lower.
type Halves = [__m256i; 2];

/// Adds the term of a super-block to the sums of `NC` columns. `WORDS` words are summed in 16 bits.
///
/// A scaled sum stays below 2^27, that of the minima below 2^21: see the types' definitions.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_k<const NC: usize, const SUB_WORDS: usize, const MINIMA: bool, const WORDS: usize>(
    panel: &k::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut isum = [[_mm256_setzero_si256(); 2]; NC];
    for j in 0..64 / SUB_WORDS {
        let scale = load(&panel.scales[j]);
        if !MINIMA {
            add_pairs(&mut isum, scale, columns, j);
        }
        if WORDS == 2 {
            add_scaled_dots(&mut isum, &panel.codes, columns, j, scale);
        } else {
            for group in 0..SUB_WORDS / WORDS {
                let first = SUB_WORDS * j + WORDS * group;
                let dot = unsigned_dots::<NC, WORDS>(&panel.codes, columns, first);
                for c in 0..NC {
                    for h in 0..2 {
                        isum[c][h] = _mm256_add_epi32(isum[c][h], _mm256_madd_epi16(dot[c][h], scale[h]));
                    }
                }
            }
        }
    }
    let mut msum = [[_mm256_setzero_si256(); 2]; NC];
    if MINIMA {
        for j in 0..32 / SUB_WORDS {
            add_pairs(&mut msum, load(&panel.minima[j]), columns, j);
        }
    }
    let (d, dmin) = (load_f32(&panel.d), load_f32(&panel.dmin));
    for c in 0..NC {
        let dy = _mm256_set1_ps(columns[c].scales[0]);
        let mut sum = load_f32(&sums[c]);
        for h in 0..2 {
            let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(isum[c][h]), _mm256_mul_ps(d[h], dy));
            if MINIMA {
                term = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(msum[c][h]), _mm256_mul_ps(dmin[h], dy), term);
            }
            sum[h] = _mm256_add_ps(sum[h], term);
        }
        store_f32(&mut sums[c], sum);
    }
}

/// Adds the term of a window of eight blocks to the sums of `NC` columns. `WORDS` words are summed in
/// 16 bits; where that is one, codes are signed.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_32<const NC: usize, const MINIMA: bool, const WORDS: usize>(
    panel: &block32::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let ones = _mm256_set1_epi16(1);
    let mut s = [[_mm256_setzero_ps(); 2]; NC];
    for j in 0..8 {
        let mut isum = [[_mm256_setzero_si256(); 2]; NC];
        if !MINIMA && WORDS > 1 {
            for c in 0..NC {
                isum[c] = [_mm256_set1_epi32(columns[c].sums[j]); 2];
            }
        }
        if WORDS == 1 {
            add_signed_dots(&mut isum, &panel.codes.as_chunks().0[j], columns, 8 * j);
        } else {
            for group in 0..8 / WORDS {
                let first = 8 * j + WORDS * group;
                let dot = unsigned_dots::<NC, WORDS>(&panel.codes, columns, first);
                for c in 0..NC {
                    for h in 0..2 {
                        isum[c][h] = _mm256_add_epi32(isum[c][h], _mm256_madd_epi16(dot[c][h], ones));
                    }
                }
            }
        }
        add_block::<NC, MINIMA>(&mut s, &isum, panel, columns, j);
    }
    for c in 0..NC {
        let sum = load_f32(&sums[c]);
        store_f32(&mut sums[c], [_mm256_add_ps(sum[0], s[c][0]), _mm256_add_ps(sum[1], s[c][1])]);
    }
}

/// Adds the terms of block `j` to window sums.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_block<const NC: usize, const MINIMA: bool>(
    s: &mut [[__m256; 2]; NC],
    isum: &[Halves; NC],
    panel: &block32::Panel,
    columns: &[Column; NC],
    j: usize,
) {
    let (d, m) = (load_f32(&panel.d[j]), load_f32(&panel.m[j]));
    for c in 0..NC {
        let dy = _mm256_set1_ps(columns[c].scales[j]);
        for h in 0..2 {
            let (isum, scale) = (_mm256_cvtepi32_ps(isum[c][h]), _mm256_mul_ps(d[h], dy));
            s[c][h] = if MINIMA {
                let sum = _mm256_castsi256_ps(_mm256_set1_epi32(columns[c].sums[j]));
                let term = _mm256_fmadd_ps(sum, _mm256_mul_ps(m[h], dy), _mm256_mul_ps(isum, scale));
                _mm256_add_ps(s[c][h], term)
            } else {
                _mm256_fmadd_ps(isum, scale, s[c][h])
            };
        }
    }
}
