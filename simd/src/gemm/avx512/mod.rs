//! The AVX-512 tiles: a vector holds four codes of each of sixteen rows, and each `vpdpbusd` takes
//! the four codes of a column that it broadcasts as it loads them.
//!
//! Per panel and column: 64 `vpdpbusd` and, for a K type, 8 or 16 `vpmulld` with the scales or, where
//! these are in the codes, none, 4 or 8 `vpdpwssd` for the minima and 4 float operations; for a
//! 32-weight type, two float operations a block and two more with minima. Unsigned codes times
//! activation codes: a lane of `vpdpbusd` sums at most 256 products of at most 255 * 127, below 2^23.

use core::arch::x86_64::*;

use crate::block::codebook::{self, Codebook};
use crate::columns::ColumnsMut;
use crate::gemm::float::{self, Float};
use crate::gemm::k::WHOLE;
use crate::gemm::{Column, Format, Gemm, ROWS, Rows, Sums, Tier, Tile, block32, driver, few, k};
use crate::isa::Avx512;
use crate::isa::avx2::prefetch_later;
use quad::Quad;

mod quad;

/// A batch product for AVX-512; see [`crate::gemm`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn gemm<const N: usize, F: Format<N>>(weights: &[u8], x: &[F::Window], out: &mut ColumnsMut<'_>) {
    if out.n_cols() <= few::COLUMNS {
        return few_gemm::<N, F>(weights, x, out);
    }
    driver::run::<N, F, _>(Avx512::here(), weights, x, out);
}

/// A product with few columns for AVX-512; see [`crate::gemm::few`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn few_gemm<const N: usize, F: Format<N>>(weights: &[u8], x: &[F::Window], out: &mut ColumnsMut<'_>) {
    few::run::<N, F, _>(Avx512::here(), weights, x, out);
}

/// A batch product of a float type for AVX-512; see [`crate::gemm::float`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn float_gemm<const N: usize, F: Float<N>>(weights: &[u8], x: &[f32], out: &mut ColumnsMut<'_>) {
    float::run::<N, F, _, 4, 6>(Avx512::here(), weights, x, out);
}

impl Tier for Avx512 {
    type Quad = Quad;
    type Lanes = __m512;
    const BYTE_BIAS: i32 = 128;
    const TOP_WHOLE_CODE: u32 = 255;
    const MAX_COLUMNS: usize = 14;
    const MIN_COLUMNS: usize = 2;

    #[inline(always)]
    fn quads<const N: usize>(self, rows: &Rows<'_, N>, at: usize) -> [Quad; 4] {
        assert!(at + 16 <= N, "bytes {at}.. of {N}");
        rows.ask_ahead(at / 16, N.div_ceil(16), |line| self.prefetch_later(line));
        // SAFETY: `self` proves the features; the bytes are inside the rows.
        unsafe { quad::transposed(rows, at) }
    }

    #[inline(always)]
    fn splat(self, bytes: u32) -> Quad {
        // SAFETY: `self` proves the features.
        Quad(unsafe { _mm512_set1_epi32(bytes.cast_signed()) })
    }

    #[inline(always)]
    fn store(self, quad: Quad, out: &mut [u8; 64]) {
        // SAFETY: `self` proves the features; 64 bytes are stored into 64.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), quad.0) }
    }

    #[inline(always)]
    fn store_pairs(self, quad: Quad, out: &mut [i32; ROWS]) {
        // SAFETY: `self` proves the features; 64 bytes are stored into 64.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), quad.0) }
    }

    #[inline(always)]
    fn store_scales(self, quad: Quad, out: &mut [[i32; ROWS]; 4]) {
        // SAFETY: `self` proves the features.
        let [a, b, c, d] = unsafe { quad::scales(quad) };
        self.store_pairs(a, &mut out[0]);
        self.store_pairs(b, &mut out[1]);
        self.store_pairs(c, &mut out[2]);
        self.store_pairs(d, &mut out[3]);
    }

    #[inline(always)]
    fn store_f16(self, quad: Quad, out: &mut [f32; ROWS]) {
        // SAFETY: `self` proves the features; 64 bytes are stored into 64.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtph_ps(_mm512_cvtepi32_epi16(quad.0))) }
    }

    #[inline(always)]
    fn signed_codes(self, quad: Quad) -> Quad {
        // SAFETY: `self` proves the features.
        Quad(unsafe { _mm512_xor_si512(quad.0, _mm512_set1_epi8(-128)) })
    }

    #[inline(always)]
    fn spread_bits(self, quad: Quad) -> Quad {
        // SAFETY: `self` proves the features.
        unsafe { quad::spread_bits(quad) }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], quad: Quad) -> Quad {
        // SAFETY: `self` proves the features.
        unsafe { quad::lookup(table, quad) }
    }

    #[inline(always)]
    fn store_half_powers(self, quad: Quad, out: &mut [f32; ROWS]) {
        // SAFETY: `self` proves the features.
        unsafe { quad::store_half_powers(quad, out) }
    }

    #[inline(always)]
    fn store_e4m3(self, quad: Quad, out: &mut [f32; ROWS]) {
        // SAFETY: `self` proves the features.
        unsafe { quad::store_e4m3(quad, out) }
    }

    #[inline(always)]
    fn store_codes<const B: usize, C: Codebook<B>>(self, block: &[u8; B], bias: u8, out: &mut [u8; 256]) {
        // SAFETY: `self` proves the features.
        unsafe { codebook::avx512::store_codes::<B, C>(block, bias, out) }
    }

    #[inline(always)]
    fn prefetch<V>(self, value: &V) {
        crate::isa::avx2::prefetch(value);
    }

    #[inline(always)]
    fn prefetch_later(self, line: *const u8) {
        prefetch_later(line);
    }

    #[inline(always)]
    fn zero_lanes(self) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn f32_lanes(self, values: &[f32; 16]) -> __m512 {
        // SAFETY: `self` proves the features; 16 floats are loaded from 16.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn f32_le_lanes(self, values: &[[u8; 4]; 16]) -> __m512 {
        // SAFETY: `self` proves the features; 64 bytes are loaded from 64.
        unsafe { _mm512_loadu_ps(values.as_ptr().cast()) }
    }

    #[inline(always)]
    fn f16_lanes(self, values: &[[u8; 2]; 16]) -> __m512 {
        // SAFETY: `self` proves the features; 32 bytes are loaded from 32.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast())) }
    }

    #[inline(always)]
    fn bf16_lanes(self, values: &[[u8; 2]; 16]) -> __m512 {
        // SAFETY: `self` proves the features; 32 bytes are loaded from 32.
        unsafe {
            let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(values.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
        }
    }

    #[inline(always)]
    fn fma(self, w: __m512, x: __m512, sum: __m512) -> __m512 {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_fmadd_ps(w, x, sum) }
    }

    #[inline(always)]
    fn store_lanes(self, lanes: __m512, out: &mut [f32; 16]) {
        // SAFETY: `self` proves the features; 16 floats are stored into 16.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), lanes) }
    }

    fn gemm<const N: usize, F: Format<N>>() -> Gemm<F::Window> {
        gemm::<N, F>
    }

    fn float_gemm<const N: usize, F: Float<N>>() -> Gemm<f32> {
        float_gemm::<N, F>
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        match (class.sub_words, class.minima) {
            (8, 8) => TILES_K_8_MINIMA[n_columns - 1],
            (4, 0) => TILES_K_4[n_columns - 1],
            (8, 0) => TILES_K_8[n_columns - 1],
            (WHOLE, 16) => TILES_K_WHOLE_MINIMA[n_columns - 1],
            (WHOLE, 0) => TILES_K_WHOLE[n_columns - 1],
            _ => unreachable!("no type has this class"),
        }
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        match (class.sub_words, class.minima) {
            (8, true) => TILES_32_MINIMA[n_columns - 1],
            (8, false) => TILES_32[n_columns - 1],
            (4, false) => TILES_16[n_columns - 1],
            _ => unreachable!("no type has this class"),
        }
    }
}

/// A table of the tiles of a class, by the number of columns less one.
macro_rules! tiles {
    ($tile:ident $(, $class:expr)*) => {
        [
            $tile::<1 $(, $class)*>, $tile::<2 $(, $class)*>, $tile::<3 $(, $class)*>,
            $tile::<4 $(, $class)*>, $tile::<5 $(, $class)*>, $tile::<6 $(, $class)*>,
            $tile::<7 $(, $class)*>, $tile::<8 $(, $class)*>, $tile::<9 $(, $class)*>,
            $tile::<10 $(, $class)*>, $tile::<11 $(, $class)*>, $tile::<12 $(, $class)*>,
            $tile::<13 $(, $class)*>, $tile::<14 $(, $class)*>,
        ]
    };
}

type Tiles<Panel> = [Tile<Panel>; Avx512::MAX_COLUMNS];
static TILES_K_8_MINIMA: Tiles<k::Panel> = tiles!(tile_k, 8, 8);
static TILES_K_8: Tiles<k::Panel> = tiles!(tile_k, 8, 0);
static TILES_K_4: Tiles<k::Panel> = tiles!(tile_k, 4, 0);
static TILES_K_WHOLE_MINIMA: Tiles<k::Panel> = tiles!(tile_k, { WHOLE }, 16);
static TILES_K_WHOLE: Tiles<k::Panel> = tiles!(tile_k, { WHOLE }, 0);
static TILES_32_MINIMA: Tiles<block32::Panel> = tiles!(tile_32, 8, true);
static TILES_32: Tiles<block32::Panel> = tiles!(tile_32, 8, false);
static TILES_16: Tiles<block32::Panel> = tiles!(tile_32, 4, false);

/// Adds the products of some words of codes to a sum of each column. (Not a function: the sums have to
/// stay in registers, and the compiler does not inline one this long everywhere.)
macro_rules! add_dots {
    ($dot:ident, $panel:ident, $columns:ident, $words:expr) => {
        for k in $words {
            let w = load_codes(&$panel.codes[k]);
            for c in 0..NC {
                let y = _mm512_set1_epi32($columns[c].codes[k]);
                $dot[c] = _mm512_dpbusd_epi32($dot[c], w, y);
            }
        }
    };
}

/// Adds the term of a super-block to the sums of `NC` columns.
///
/// A scaled sum stays below 2^27, that of the minima below 2^21: see the types' definitions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn tile_k<const NC: usize, const SUB_WORDS: usize, const MINIMA: usize>(
    panel: &k::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut isum = [_mm512_setzero_si512(); NC];
    for j in 0..64 / SUB_WORDS {
        panel.ahead.ask_share(j, 64 / SUB_WORDS, prefetch_later);
        let mut dot = [_mm512_setzero_si512(); NC];
        if MINIMA == 0 {
            for c in 0..NC {
                dot[c] = _mm512_set1_epi32(columns[c].sums[j]);
            }
        }
        add_dots!(dot, panel, columns, SUB_WORDS * j..SUB_WORDS * (j + 1));
        if SUB_WORDS == WHOLE {
            isum = dot;
            continue;
        }
        let scale = load(&panel.scales[j]);
        for c in 0..NC {
            isum[c] = _mm512_add_epi32(isum[c], _mm512_mullo_epi32(dot[c], scale));
        }
    }
    let mut msum = [_mm512_setzero_si512(); NC];
    for j in 0..MINIMA / 2 {
        let minima = load(&panel.minima[j]);
        for c in 0..NC {
            msum[c] = _mm512_dpwssd_epi32(msum[c], minima, _mm512_set1_epi32(columns[c].sums[j]));
        }
    }
    let (d, dmin) = (load_f32(&panel.d), load_f32(&panel.dmin));
    for c in 0..NC {
        let dy = _mm512_set1_ps(columns[c].scales[0]);
        let mut term = _mm512_mul_ps(_mm512_cvtepi32_ps(isum[c]), _mm512_mul_ps(d, dy));
        if MINIMA > 0 {
            term = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(msum[c]), _mm512_mul_ps(dmin, dy), term);
        }
        let sum = _mm512_add_ps(load_f32(&sums[c]), term);
        store_f32(&mut sums[c], sum);
    }
}

/// Adds the term of a window of eight blocks to the sums of `NC` columns; `WORDS` words have a scale.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn tile_32<const NC: usize, const WORDS: usize, const MINIMA: bool>(
    panel: &block32::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut s = [_mm512_setzero_ps(); NC];
    for j in 0..panel.n_blocks.min(8) * 8 / WORDS {
        panel.ahead.ask_share(j, 64 / WORDS, prefetch_later);
        let mut dot = [_mm512_setzero_si512(); NC];
        if !MINIMA {
            for c in 0..NC {
                dot[c] = _mm512_set1_epi32(columns[c].sums[j]);
            }
        }
        add_dots!(dot, panel, columns, WORDS * j..WORDS * (j + 1));
        let (d, m) = (load_f32(panel.scale::<WORDS>(j)), load_f32(&panel.m[j * WORDS / 8]));
        for c in 0..NC {
            let dy = _mm512_set1_ps(columns[c].scales[j * WORDS / 8]);
            let (isum, scale) = (_mm512_cvtepi32_ps(dot[c]), _mm512_mul_ps(d, dy));
            s[c] = if MINIMA {
                let sum = _mm512_castsi512_ps(_mm512_set1_epi32(columns[c].sums[j]));
                let term = _mm512_fmadd_ps(isum, scale, _mm512_mul_ps(m, sum));
                _mm512_add_ps(s[c], term)
            } else {
                _mm512_fmadd_ps(isum, scale, s[c])
            };
        }
    }
    for c in 0..NC {
        let sum = _mm512_add_ps(load_f32(&sums[c]), s[c]);
        store_f32(&mut sums[c], sum);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[i32; ROWS]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_codes(codes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_f32(values: &[f32; ROWS]) -> __m512 {
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_f32(out: &mut [f32; ROWS], values: __m512) {
    // SAFETY: the reference is to 64 writable bytes.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) }
}
