//! What the tiers of 256-bit vectors share: unpacking, and everything about floats.

use core::arch::x86_64::*;

use super::quad::{self, Quad};
use crate::activation::Q8KWindow;
use crate::block::codebook::{self, Codebook};
use crate::columns::ColumnsMut;
use crate::gemm::float::{self, Float};
use crate::gemm::{Format, Gemm, ROWS, Rows, Tier, Tile, block32, driver, few, k};

/// A tier of 256-bit vectors; the methods are those of [`Tier`].
pub(in crate::gemm) trait YmmTier: Copy {
    const BYTE_BIAS: i32;
    const TOP_WHOLE_CODE: u32;
    const MAX_COLUMNS: usize;

    /// Looks at the CPU.
    fn look() -> Option<Self>;

    /// The four signed bytes of each row as the tiles want scales.
    fn scales(self, quad: Quad) -> [Quad; 4];

    fn signed_codes(self, quad: Quad) -> Quad;

    #[inline(always)]
    fn first_sums(window: &Q8KWindow, class: k::Class) -> [i32; 16] {
        k::first_sums(window, class)
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel>;

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel>;
}

/// A batch product for 256-bit vectors; see [`crate::gemm`].
#[target_feature(enable = "avx2,fma,f16c")]
fn gemm<const N: usize, F: Format<N>, T: YmmTier>(weights: &[u8], x: &[F::Window], out: &mut ColumnsMut<'_>) {
    let tier = T::look().expect("this tier's kernels run on CPUs that have it");
    if out.n_cols() <= few::COLUMNS {
        return few_gemm::<N, F, T>(tier, weights, x, out);
    }
    driver::run::<N, F, _>(tier, weights, x, out);
}

/// A product with few columns; see [`crate::gemm::few`].
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn few_gemm<const N: usize, F: Format<N>, T: YmmTier>(
    tier: T,
    weights: &[u8],
    x: &[F::Window],
    out: &mut ColumnsMut<'_>,
) {
    few::run::<N, F, _>(tier, weights, x, out);
}

/// A batch product of a float type for 256-bit vectors; see [`crate::gemm::float`].
#[target_feature(enable = "avx2,fma,f16c")]
fn float_gemm<const N: usize, F: Float<N>, T: YmmTier>(weights: &[u8], x: &[f32], out: &mut ColumnsMut<'_>) {
    let tier = T::look().expect("this tier's kernels run on CPUs that have it");
    float::run::<N, F, _, 2, 3>(tier, weights, x, out);
}

impl<T: YmmTier> Tier for T {
    type Quad = Quad;
    type Lanes = [__m256; 2];
    const BYTE_BIAS: i32 = <T as YmmTier>::BYTE_BIAS;
    const TOP_WHOLE_CODE: u32 = <T as YmmTier>::TOP_WHOLE_CODE;
    const MAX_COLUMNS: usize = <T as YmmTier>::MAX_COLUMNS;
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
        Quad([unsafe { _mm256_set1_epi32(bytes.cast_signed()) }; 2])
    }

    #[inline(always)]
    fn store(self, quad: Quad, out: &mut [u8; 64]) {
        // SAFETY: `self` proves the features; two times 32 bytes are stored into 64.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), quad.0[0]);
            _mm256_storeu_si256(out.as_mut_ptr().add(32).cast(), quad.0[1]);
        }
    }

    #[inline(always)]
    fn store_pairs(self, quad: Quad, out: &mut [i32; ROWS]) {
        // SAFETY: `self` proves the features; two times 8 integers are stored into 16.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), quad.0[0]);
            _mm256_storeu_si256(out.as_mut_ptr().add(8).cast(), quad.0[1]);
        }
    }

    #[inline(always)]
    fn store_scales(self, quad: Quad, out: &mut [[i32; ROWS]; 4]) {
        let [a, b, c, d] = self.scales(quad);
        self.store_pairs(a, &mut out[0]);
        self.store_pairs(b, &mut out[1]);
        self.store_pairs(c, &mut out[2]);
        self.store_pairs(d, &mut out[3]);
    }

    #[inline(always)]
    fn store_f16(self, quad: Quad, out: &mut [f32; ROWS]) {
        // SAFETY: `self` proves the features.
        unsafe { quad::store_f16(quad, out) }
    }

    #[inline(always)]
    fn signed_codes(self, quad: Quad) -> Quad {
        <T as YmmTier>::signed_codes(self, quad)
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
        unsafe { codebook::avx2::store_codes::<B, C>(block, bias, out) }
    }

    #[inline(always)]
    fn first_sums(window: &Q8KWindow, class: k::Class) -> [i32; 16] {
        <T as YmmTier>::first_sums(window, class)
    }

    #[inline(always)]
    fn prefetch<V>(self, value: &V) {
        crate::isa::avx2::prefetch(value);
    }

    #[inline(always)]
    fn prefetch_later(self, line: *const u8) {
        crate::isa::avx2::prefetch_later(line);
    }

    #[inline(always)]
    fn zero_lanes(self) -> [__m256; 2] {
        // SAFETY: `self` proves the features.
        [unsafe { _mm256_setzero_ps() }; 2]
    }

    #[inline(always)]
    fn f32_lanes(self, values: &[f32; 16]) -> [__m256; 2] {
        // SAFETY: `self` proves the features; 16 floats are loaded from 16.
        unsafe { [_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn f32_le_lanes(self, values: &[[u8; 4]; 16]) -> [__m256; 2] {
        let first = values.as_ptr().cast::<f32>();
        // SAFETY: `self` proves the features; 64 bytes are loaded from 64.
        unsafe { [_mm256_loadu_ps(first), _mm256_loadu_ps(first.add(8))] }
    }

    #[inline(always)]
    fn f16_lanes(self, values: &[[u8; 2]; 16]) -> [__m256; 2] {
        let bytes = values.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves the features; 32 bytes are loaded from 32.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(bytes)), _mm256_cvtph_ps(_mm_loadu_si128(bytes.add(1)))] }
    }

    #[inline(always)]
    fn bf16_lanes(self, values: &[[u8; 2]; 16]) -> [__m256; 2] {
        let bytes = values.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves the features; 32 bytes are loaded from 32.
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
        // SAFETY: `self` proves the features.
        unsafe { [_mm256_fmadd_ps(w[0], x[0], sum[0]), _mm256_fmadd_ps(w[1], x[1], sum[1])] }
    }

    #[inline(always)]
    fn store_lanes(self, lanes: [__m256; 2], out: &mut [f32; 16]) {
        // SAFETY: `self` proves the features; 16 floats are stored into 16.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), lanes[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), lanes[1]);
        }
    }

    fn gemm<const N: usize, F: Format<N>>() -> Gemm<F::Window> {
        gemm::<N, F, T>
    }

    fn float_gemm<const N: usize, F: Float<N>>() -> Gemm<f32> {
        float_gemm::<N, F, T>
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        <T as YmmTier>::tile_k(class, n_columns)
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        <T as YmmTier>::tile_32(class, n_columns)
    }
}
