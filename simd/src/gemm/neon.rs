//! The NEON tiles: four vectors hold four codes of each of sixteen rows, and each `sdot` takes the
//! four codes of a column from a lane of a vector that holds sixteen.
//!
//! Per panel and column: 256 `sdot`; for a K type a multiply-add with the scales per vector and
//! sub-block, for a 32-weight type a conversion, a product and a fused multiply-add. Codes of less
//! than 8 bits are valid signed bytes as they are, those of 8 bits stay signed.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::columns::ColumnsMut;
use crate::gemm::float::{self, Float};
use crate::gemm::{Column, Format, Gemm, ROWS, Rows, Sums, Tier, Tile, block32, driver, k};
use crate::isa::NeonDotprod;
use quad::Quad;

mod quad;

/// A batch product for NEON; see [`crate::gemm`].
#[target_feature(enable = "neon,dotprod")]
fn gemm<const N: usize, F: Format<N>>(weights: &[u8], x: &[F::Window], out: &mut ColumnsMut<'_>) {
    let tier = NeonDotprod::detect().expect("this tier's kernels run on CPUs that have it");
    driver::run::<N, F, _>(tier, weights, x, out);
}

/// A batch product of a float type for NEON; see [`crate::gemm::float`].
#[target_feature(enable = "neon,dotprod")]
fn float_gemm<const N: usize, F: Float<N>>(weights: &[u8], x: &[f32], out: &mut ColumnsMut<'_>) {
    let tier = NeonDotprod::detect().expect("this tier's kernels run on CPUs that have it");
    float::run::<N, F, _, 2, 2>(tier, weights, x, out);
}

impl Tier for NeonDotprod {
    type Quad = Quad;
    type Lanes = [float32x4_t; 4];
    const BYTE_BIAS: i32 = 0;
    const MAX_COLUMNS: usize = 4;
    const MIN_COLUMNS: usize = 3;

    #[inline(always)]
    fn quads<const N: usize>(self, rows: &Rows<'_, N>, at: usize) -> [Quad; 4] {
        assert!(at + 16 <= N, "bytes {at}.. of {N}");
        // SAFETY: `self` proves the features; the bytes are inside the rows.
        unsafe { quad::transposed(rows, at) }
    }

    #[inline(always)]
    fn splat(self, bytes: u32) -> Quad {
        // SAFETY: `self` proves the features; so below.
        Quad([unsafe { vdupq_n_u32(bytes) }; 4])
    }

    #[inline(always)]
    fn store(self, quad: Quad, out: &mut [u8; 64]) {
        for q in 0..4 {
            // SAFETY: see `splat`; 16 bytes are stored into each quarter of 64.
            unsafe { vst1q_u32(out.as_mut_ptr().add(16 * q).cast(), quad.0[q]) };
        }
    }

    #[inline(always)]
    fn store_pairs(self, quad: Quad, out: &mut [i32; ROWS]) {
        for q in 0..4 {
            // SAFETY: see `splat`; four integers are stored into each quarter of 16.
            unsafe { vst1q_u32(out.as_mut_ptr().add(4 * q).cast(), quad.0[q]) };
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

    #[inline(always)]
    fn first_sum(sum: i32) -> i32 {
        sum
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
    fn zero_lanes(self) -> [float32x4_t; 4] {
        // SAFETY: see `splat`.
        [unsafe { vdupq_n_f32(0.0) }; 4]
    }

    #[inline(always)]
    fn f32_lanes(self, values: &[f32; 16]) -> [float32x4_t; 4] {
        let v = values.as_ptr();
        // SAFETY: see `splat`; 16 floats are loaded from 16.
        unsafe { [vld1q_f32(v), vld1q_f32(v.add(4)), vld1q_f32(v.add(8)), vld1q_f32(v.add(12))] }
    }

    #[inline(always)]
    fn f32_le_lanes(self, values: &[[u8; 4]; 16]) -> [float32x4_t; 4] {
        let v = values.as_ptr().cast::<u8>();
        let mut lanes = self.zero_lanes();
        for q in 0..4 {
            // SAFETY: see `splat`; 16 bytes are loaded from each quarter of 64.
            lanes[q] = unsafe { vreinterpretq_f32_u8(vld1q_u8(v.add(16 * q))) };
        }
        lanes
    }

    #[inline(always)]
    fn f16_lanes(self, values: &[[u8; 2]; 16]) -> [float32x4_t; 4] {
        let bytes = values.as_ptr().cast::<u8>();
        // SAFETY: see `splat`; 32 bytes are loaded from 32.
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
        // SAFETY: see `splat`; 32 bytes are loaded from 32.
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
            // SAFETY: see `splat`.
            sum[q] = unsafe { vfmaq_f32(sum[q], w[q], x[q]) };
        }
        sum
    }

    #[inline(always)]
    fn store_lanes(self, lanes: [float32x4_t; 4], out: &mut [f32; 16]) {
        for q in 0..4 {
            // SAFETY: see `splat`; four floats are stored into each quarter of 16.
            unsafe { vst1q_f32(out.as_mut_ptr().add(4 * q), lanes[q]) };
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
            (8, true, ..8) => TILES_K_8_MINIMA[n_columns - 1],
            (4, false, ..8) => TILES_K_4[n_columns - 1],
            _ => unreachable!("no type has this class"),
        }
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        if class.minima { TILES_32_MINIMA[n_columns - 1] } else { TILES_32[n_columns - 1] }
    }
}

/// A table of the tiles of a class, by the number of columns less one.
macro_rules! tiles {
    ($tile:ident $(, $class:expr)*) => {
        [$tile::<1 $(, $class)*>, $tile::<2 $(, $class)*>, $tile::<3 $(, $class)*>, $tile::<4 $(, $class)*>]
    };
}

type Tiles<Panel> = [Tile<Panel>; NeonDotprod::MAX_COLUMNS];
static TILES_K_8_MINIMA: Tiles<k::Panel> = tiles!(tile_k, 8, true);
static TILES_K_4: Tiles<k::Panel> = tiles!(tile_k, 4, false);
static TILES_32_MINIMA: Tiles<block32::Panel> = tiles!(tile_32, true);
static TILES_32: Tiles<block32::Panel> = tiles!(tile_32, false);

/// Sums of sixteen rows.
type Dots = [int32x4_t; 4];

/// Adds the term of a super-block to the sums of `NC` columns.
///
/// A scaled sum stays below 2^27, that of the minima below 2^21: see the types' definitions.
#[target_feature(enable = "neon,dotprod")]
fn tile_k<const NC: usize, const SUB_WORDS: usize, const MINIMA: bool>(
    panel: &k::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut isum = [[vdupq_n_s32(0); 4]; NC];
    for j in 0..64 / SUB_WORDS {
        let dot = block_dots::<NC, SUB_WORDS, MINIMA>(&panel.codes, columns, j);
        for q in 0..4 {
            let scale = load(&panel.scales[j], q);
            for c in 0..NC {
                isum[c][q] = vmlaq_s32(isum[c][q], dot[c][q], scale);
            }
        }
    }
    let mut msum = [[vdupq_n_s32(0); 4]; NC];
    if MINIMA {
        for j in 0..32 / SUB_WORDS {
            for q in 0..4 {
                let pair = load(&panel.minima[j], q);
                let low = vshrq_n_s32::<16>(vshlq_n_s32::<16>(pair));
                let high = vshrq_n_s32::<16>(pair);
                for c in 0..NC {
                    let sum = columns[c].sums[j];
                    let low_products = vmlaq_n_s32(msum[c][q], low, i32::from(sum as i16));
                    msum[c][q] = vmlaq_n_s32(low_products, high, sum >> 16);
                }
            }
        }
    }
    for c in 0..NC {
        let dy = columns[c].scales[0];
        for q in 0..4 {
            let scale = vmulq_n_f32(load_f32(&panel.d, q), dy);
            let mut term = vmulq_f32(vcvtq_f32_s32(isum[c][q]), scale);
            if MINIMA {
                let min_scale = vmulq_n_f32(load_f32(&panel.dmin, q), dy);
                term = vfmsq_f32(term, vcvtq_f32_s32(msum[c][q]), min_scale);
            }
            let sum = vaddq_f32(load_f32(&sums[c], q), term);
            store_f32(&mut sums[c], q, sum);
        }
    }
}

/// Adds the term of a window of eight blocks to the sums of `NC` columns.
#[target_feature(enable = "neon,dotprod")]
fn tile_32<const NC: usize, const MINIMA: bool>(
    panel: &block32::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut s = [[vdupq_n_f32(0.0); 4]; NC];
    for j in 0..8 {
        let dot = block_dots::<NC, 8, MINIMA>(&panel.codes, columns, j);
        for c in 0..NC {
            let dy = columns[c].scales[j];
            for q in 0..4 {
                let isum = vcvtq_f32_s32(dot[c][q]);
                let scale = vmulq_n_f32(load_f32(&panel.d[j], q), dy);
                s[c][q] = if MINIMA {
                    let sum = vreinterpretq_f32_s32(vdupq_n_s32(columns[c].sums[j]));
                    let min_scale = vmulq_n_f32(load_f32(&panel.m[j], q), dy);
                    vaddq_f32(s[c][q], vfmaq_f32(vmulq_f32(isum, scale), sum, min_scale))
                } else {
                    vfmaq_f32(s[c][q], isum, scale)
                };
            }
        }
    }
    for c in 0..NC {
        for q in 0..4 {
            let sum = vaddq_f32(load_f32(&sums[c], q), s[c][q]);
            store_f32(&mut sums[c], q, sum);
        }
    }
}

/// The products of block `j` of `WORDS` words, added to what a bias has them begin with.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn block_dots<const NC: usize, const WORDS: usize, const MINIMA: bool>(
    codes: &[[u8; 64]; 64],
    columns: &[Column; NC],
    j: usize,
) -> [Dots; NC] {
    let mut dot = [[vdupq_n_s32(0); 4]; NC];
    if !MINIMA {
        for c in 0..NC {
            dot[c] = [vdupq_n_s32(columns[c].sums[j]); 4];
        }
    }
    for first in (WORDS * j..WORDS * (j + 1)).step_by(4) {
        let mut y = [vdupq_n_s8(0); NC];
        for c in 0..NC {
            y[c] = load_words(&columns[c].codes, first);
        }
        add_word::<NC, 0>(&mut dot, &codes[first], &y);
        add_word::<NC, 1>(&mut dot, &codes[first + 1], &y);
        add_word::<NC, 2>(&mut dot, &codes[first + 2], &y);
        add_word::<NC, 3>(&mut dot, &codes[first + 3], &y);
    }
    dot
}

/// Adds the products of a word of codes of sixteen rows with word `LANE` of each column.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_word<const NC: usize, const LANE: usize>(dot: &mut [Dots; NC], codes: &[u8; 64], y: &[int8x16_t; NC]) {
    for q in 0..4 {
        // SAFETY: 16 bytes are loaded from each quarter of 64.
        let w = unsafe { vld1q_s8(codes.as_ptr().add(16 * q).cast()) };
        for c in 0..NC {
            dot[c][q] = sdot_lane::<LANE>(dot[c][q], w, y[c]);
        }
    }
}

/// Adds to each lane of `acc` the products of its four codes with those in lane `LANE` of `y`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot_lane<const LANE: usize>(mut acc: int32x4_t, w: int8x16_t, y: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes registers only, and `dotprod` is enabled here. (The
    // intrinsic for it is not stable.)
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {y:v}.4b[{lane}]",
            acc = inout(vreg) acc, w = in(vreg) w, y = in(vreg) y, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Four words of codes from the `first`.
#[inline]
#[target_feature(enable = "neon")]
fn load_words(codes: &[i32; 64], first: usize) -> int8x16_t {
    let words: &[i32; 4] = codes[first..].first_chunk().expect("four words");
    // SAFETY: the reference is to 16 readable bytes.
    unsafe { vld1q_s8(words.as_ptr().cast()) }
}

/// Vector `q` of sixteen integers.
#[inline]
#[target_feature(enable = "neon")]
fn load(words: &[i32; ROWS], q: usize) -> int32x4_t {
    crate::isa::neon::load_i32(&words.as_chunks().0[q])
}

/// Vector `q` of sixteen floats.
#[inline]
#[target_feature(enable = "neon")]
fn load_f32(values: &[f32; ROWS], q: usize) -> float32x4_t {
    crate::isa::neon::load_f32(&values.as_chunks().0[q])
}

/// Stores vector `q` of sixteen floats.
#[inline]
#[target_feature(enable = "neon")]
fn store_f32(out: &mut [f32; ROWS], q: usize, values: float32x4_t) {
    crate::isa::neon::store_f32(&mut out.as_chunks_mut().0[q], values);
}
