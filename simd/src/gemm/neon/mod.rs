//! Batch products for NEON: a vector holds four codes of each of four rows, or eight of each of two.
//!
//! The tiers differ in the tiles only: [`rows`] multiplies a lane's four codes with those of one column,
//! by `sdot` or in the instructions every CPU has; [`matrix`] multiplies two rows with two columns by
//! `smmla`. All of it is compiled for base NEON; see [`crate::isa::neon::Dot`].

use core::arch::aarch64::*;
use core::arch::asm;

use crate::block::codebook::{self, Codebook};
use crate::columns::ColumnsMut;
use crate::gemm::float::{self, Float};
use crate::gemm::{Format, Gemm, ROWS, Rows, Tier, Tile, block32, driver, few, k};
use crate::isa::{Neon, NeonDotprod, NeonI8mm};
use quad::Quad;

mod matrix;
mod quad;
mod rows;
mod terms;

/// What NEON tiers do not share.
pub(crate) trait NeonTier: Copy {
    /// See [`Tier::MAX_COLUMNS`].
    const MAX_COLUMNS: usize;

    /// Looks at the CPU.
    fn look() -> Option<Self>;

    /// See [`Tier::arrange`].
    fn arrange(self, codes: &mut [[u8; 64]; 64]);

    /// See [`Tier::tile_k`].
    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel>;

    /// See [`Tier::tile_32`].
    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel>;
}

impl NeonTier for Neon {
    const MAX_COLUMNS: usize = 2;

    fn look() -> Option<Self> {
        Self::detect()
    }

    fn arrange(self, _codes: &mut [[u8; 64]; 64]) {}

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        rows::tile_of_k::<Self>(class, n_columns)
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        rows::tile_of_32::<Self>(class, n_columns)
    }
}

impl NeonTier for NeonDotprod {
    const MAX_COLUMNS: usize = 4;

    fn look() -> Option<Self> {
        Self::detect()
    }

    fn arrange(self, _codes: &mut [[u8; 64]; 64]) {}

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        rows::tile_of_k::<Self>(class, n_columns)
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        rows::tile_of_32::<Self>(class, n_columns)
    }
}

impl NeonTier for NeonI8mm {
    const MAX_COLUMNS: usize = 4;

    fn look() -> Option<Self> {
        Self::detect()
    }

    fn arrange(self, codes: &mut [[u8; 64]; 64]) {
        matrix::arrange(self, codes);
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        matrix::tile_of_k(class, n_columns)
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        matrix::tile_of_32(class, n_columns)
    }
}

/// A batch product for NEON; see [`crate::gemm`].
#[target_feature(enable = "neon")]
fn gemm<const N: usize, F: Format<N>, T: NeonTier>(
    weights: &[u8],
    x: &[F::Window],
    out: &mut ColumnsMut<'_>,
) {
    let tier = T::look().expect("this tier's kernels run on CPUs that have it");
    if out.n_cols() <= few::COLUMNS {
        return few_gemm::<N, F, T>(tier, weights, x, out);
    }
    driver::run::<N, F, _>(tier, weights, x, out);
}

/// A product with few columns; see [`crate::gemm::few`].
#[inline(never)]
#[target_feature(enable = "neon")]
fn few_gemm<const N: usize, F: Format<N>, T: NeonTier>(
    tier: T,
    weights: &[u8],
    x: &[F::Window],
    out: &mut ColumnsMut<'_>,
) {
    few::run::<N, F, _>(tier, weights, x, out);
}

/// A batch product of a float type for NEON; see [`crate::gemm::float`].
#[target_feature(enable = "neon")]
fn float_gemm<const N: usize, F: Float<N>, T: NeonTier>(weights: &[u8], x: &[f32], out: &mut ColumnsMut<'_>) {
    let tier = T::look().expect("this tier's kernels run on CPUs that have it");
    float::run::<N, F, _, 2, 2>(tier, weights, x, out);
}

impl<T: NeonTier> Tier for T {
    type Quad = Quad;
    type Lanes = [float32x4_t; 4];
    const BYTE_BIAS: i32 = 0;
    const TOP_WHOLE_CODE: u32 = 127;
    const MAX_COLUMNS: usize = <T as NeonTier>::MAX_COLUMNS;
    const MIN_COLUMNS: usize = 3;

    #[inline(always)]
    fn arrange(self, codes: &mut [[u8; 64]; 64]) {
        <T as NeonTier>::arrange(self, codes);
    }

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
        Quad([unsafe { vdupq_n_u32(bytes) }; 4])
    }

    #[inline(always)]
    fn store(self, quad: Quad, out: &mut [u8; 64]) {
        for q in 0..4 {
            // SAFETY: `self` proves the features; 16 bytes are stored into each quarter of 64.
            unsafe { vst1q_u32(out.as_mut_ptr().add(16 * q).cast(), quad.0[q]) };
        }
    }

    #[inline(always)]
    fn store_pairs(self, quad: Quad, out: &mut [i32; ROWS]) {
        for q in 0..4 {
            // SAFETY: `self` proves the features; four integers are stored into each quarter of 16.
            unsafe { vst1q_u32(out.as_mut_ptr().add(4 * q).cast(), quad.0[q]) };
        }
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
        // SAFETY: `self` proves the features.
        unsafe { quad::store_f16(quad, out) }
    }

    #[inline(always)]
    fn signed_codes(self, quad: Quad) -> Quad {
        quad
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
        unsafe { codebook::neon::store_codes::<B, C>(block, bias, out) }
    }

    #[inline(always)]
    fn prefetch<V>(self, value: &V) {
        let first = core::ptr::from_ref(value).cast::<u8>();
        for line in 0..size_of::<V>().div_ceil(64) {
            let line = first.wrapping_add(64 * line);
            // SAFETY: a prefetch changes nothing but caches and never faults.
            unsafe {
                asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags));
            };
        }
    }

    #[inline(always)]
    fn prefetch_later(self, line: *const u8) {
        crate::isa::neon::prefetch_later(line);
    }

    #[inline(always)]
    fn zero_lanes(self) -> [float32x4_t; 4] {
        // SAFETY: `self` proves the features.
        [unsafe { vdupq_n_f32(0.0) }; 4]
    }

    #[inline(always)]
    fn f32_lanes(self, values: &[f32; 16]) -> [float32x4_t; 4] {
        let v = values.as_ptr();
        // SAFETY: `self` proves the features; 16 floats are loaded from 16.
        unsafe { [vld1q_f32(v), vld1q_f32(v.add(4)), vld1q_f32(v.add(8)), vld1q_f32(v.add(12))] }
    }

    #[inline(always)]
    fn f32_le_lanes(self, values: &[[u8; 4]; 16]) -> [float32x4_t; 4] {
        let v = values.as_ptr().cast::<u8>();
        let mut lanes = self.zero_lanes();
        for q in 0..4 {
            // SAFETY: `self` proves the features; 16 bytes are loaded from each quarter of 64.
            lanes[q] = unsafe { vreinterpretq_f32_u8(vld1q_u8(v.add(16 * q))) };
        }
        lanes
    }

    #[inline(always)]
    fn f16_lanes(self, values: &[[u8; 2]; 16]) -> [float32x4_t; 4] {
        let bytes = values.as_ptr().cast::<u8>();
        // SAFETY: `self` proves the features; 32 bytes are loaded from 32.
        unsafe {
            let (low, high) = (vld1q_u8(bytes), vld1q_u8(bytes.add(16)));
            let (low, high) = (vreinterpretq_f16_u8(low), vreinterpretq_f16_u8(high));
            [
                vcvt_f32_f16(vget_low_f16(low)),
                vcvt_high_f32_f16(low),
                vcvt_f32_f16(vget_low_f16(high)),
                vcvt_high_f32_f16(high),
            ]
        }
    }

    #[inline(always)]
    fn bf16_lanes(self, values: &[[u8; 2]; 16]) -> [float32x4_t; 4] {
        let bytes = values.as_ptr().cast::<u8>();
        // SAFETY: `self` proves the features; 32 bytes are loaded from 32.
        unsafe {
            let zero = vdupq_n_u16(0);
            let (low, high) = (vld1q_u8(bytes), vld1q_u8(bytes.add(16)));
            let (low, high) = (vreinterpretq_u16_u8(low), vreinterpretq_u16_u8(high));
            [
                vreinterpretq_f32_u16(vzip1q_u16(zero, low)),
                vreinterpretq_f32_u16(vzip2q_u16(zero, low)),
                vreinterpretq_f32_u16(vzip1q_u16(zero, high)),
                vreinterpretq_f32_u16(vzip2q_u16(zero, high)),
            ]
        }
    }

    #[inline(always)]
    fn fma(self, w: [float32x4_t; 4], x: [float32x4_t; 4], mut sum: [float32x4_t; 4]) -> [float32x4_t; 4] {
        for q in 0..4 {
            // SAFETY: `self` proves the features.
            sum[q] = unsafe { vfmaq_f32(sum[q], w[q], x[q]) };
        }
        sum
    }

    #[inline(always)]
    fn store_lanes(self, lanes: [float32x4_t; 4], out: &mut [f32; 16]) {
        for q in 0..4 {
            // SAFETY: `self` proves the features; four floats are stored into each quarter of 16.
            unsafe { vst1q_f32(out.as_mut_ptr().add(4 * q), lanes[q]) };
        }
    }

    fn gemm<const N: usize, F: Format<N>>() -> Gemm<F::Window> {
        gemm::<N, F, T>
    }

    fn float_gemm<const N: usize, F: Float<N>>() -> Gemm<f32> {
        float_gemm::<N, F, T>
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        <T as NeonTier>::tile_k(class, n_columns)
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        <T as NeonTier>::tile_32(class, n_columns)
    }
}
