//! The NEON tiles of `smmla`, which multiplies two rows of eight codes with two columns:
//!
//! ```text
//! w: [row 0: 8 codes][row 1: 8 codes]   y: [column 0: 8 codes][column 1: 8 codes]
//! acc: [row 0 * column 0][row 0 * column 1][row 1 * column 0][row 1 * column 1]
//! ```
//!
//! [`arrange`] brings a panel's codes into the order of `w` when it is unpacked; columns are brought
//! together as they are loaded, once for eight rows. Those eight rows by four columns are eight vectors
//! of sums, and eight more of scaled or float sums, of the 32 registers. Per panel and column of a
//! window: 128 `smmla`, half of what `sdot` takes; the steps after them are those of [`super::rows`],
//! on sums brought into a row per lane again. An odd last column stands in for the one it lacks.

use core::arch::aarch64::*;
use core::arch::asm;

use super::rows::{load_quarter, load_words};
use super::terms::{add_block, add_super_block, load, load_f32, store_f32};
use crate::gemm::k::{self, WHOLE};
use crate::gemm::{Column, Sums, Tile, block32};
use crate::isa::NeonI8mm;
use crate::isa::neon::prefetch_later;

/// Brings words of four codes `[k / 4][row][k % 4]` into the order `[k / 8][row][k % 8]`.
pub(super) fn arrange(_proof: NeonI8mm, codes: &mut [[u8; 64]; 64]) {
    // SAFETY: a CPU with i8mm has NEON.
    unsafe { arrange_words(codes) }
}

#[inline]
#[target_feature(enable = "neon")]
fn arrange_words(codes: &mut [[u8; 64]; 64]) {
    for pair in codes.as_chunks_mut::<2>().0 {
        let [first, second] = *pair;
        let out = pair.as_flattened_mut().as_chunks_mut::<32>().0;
        for q in 0..4 {
            let a = vreinterpretq_s32_s8(load_quarter(&first, q));
            let b = vreinterpretq_s32_s8(load_quarter(&second, q));
            let (low, high) = (vzip1q_s32(a, b), vzip2q_s32(a, b));
            // SAFETY: each store fills a half of the 32 bytes.
            unsafe {
                vst1q_s32(out[q].as_mut_ptr().cast(), low);
                vst1q_s32(out[q].as_mut_ptr().add(16).cast(), high);
            }
        }
    }
}

/// A table of the tiles of a class, by the number of columns less one.
macro_rules! tiles {
    ($tile:ident, $($class:tt),*) => {
        const { [$tile::<1, $($class),*>, $tile::<2, $($class),*>, $tile::<3, $($class),*>, $tile::<4, $($class),*>] }
    };
}

/// The tile of a K type for some columns.
pub(super) fn tile_of_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
    let tiles: [Tile<k::Panel>; 4] = match (class.sub_words, class.minima) {
        (8, 8) => tiles!(tile_k, 8, 8),
        (4, 0) => tiles!(tile_k, 4, 0),
        (8, 0) => tiles!(tile_k, 8, 0),
        (WHOLE, 0) => tiles!(tile_k, WHOLE, 0),
        (WHOLE, 16) => tiles!(tile_k, WHOLE, 16),
        _ => unreachable!("no type has this class"),
    };
    tiles[n_columns - 1]
}

/// The tile of a 32-weight type for some columns.
pub(super) fn tile_of_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
    let tiles: [Tile<block32::Panel>; 4] = match (class.sub_words, class.minima) {
        (8, true) => tiles!(tile_32, 8, true),
        (8, false) => tiles!(tile_32, 8, false),
        (4, false) => tiles!(tile_32, 4, false),
        _ => unreachable!("no type has this class"),
    };
    tiles[n_columns - 1]
}

/// Sums of eight rows, two a vector, with two columns.
type PairDots = [int32x4_t; 4];

/// Adds the term of a super-block to the sums of `NC` columns.
#[target_feature(enable = "neon")]
fn tile_k<const NC: usize, const SUB_WORDS: usize, const MINIMA: usize>(
    panel: &k::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let proof = NeonI8mm::detect().expect("this tier's kernels run on CPUs that have it");
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut isum = [[vdupq_n_s32(0); 4]; NC];
    for half in 0..2 {
        let mut scaled = [[vdupq_n_s32(0); 4]; 2];
        for j in 0..64 / SUB_WORDS {
            panel.ahead.ask_share(64 / SUB_WORDS * half + j, 2 * 64 / SUB_WORDS, prefetch_later);
            let dot = if MINIMA > 0 {
                block_dots::<NC, SUB_WORDS, true>(proof, &panel.codes, columns, j, half)
            } else {
                block_dots::<NC, SUB_WORDS, false>(proof, &panel.codes, columns, j, half)
            };
            if SUB_WORDS == WHOLE {
                scaled = dot;
                continue;
            }
            for i in 0..2 {
                let scale = load(&panel.scales[j], 2 * half + i);
                let (low, high) = (vzip1q_s32(scale, scale), vzip2q_s32(scale, scale));
                for p in 0..NC.div_ceil(2) {
                    scaled[p][2 * i] = vmlaq_s32(scaled[p][2 * i], dot[p][2 * i], low);
                    scaled[p][2 * i + 1] = vmlaq_s32(scaled[p][2 * i + 1], dot[p][2 * i + 1], high);
                }
            }
        }
        for c in 0..NC {
            for i in 0..2 {
                isum[c][2 * half + i] = column_of(&scaled, c, i);
            }
        }
    }
    add_super_block::<NC, MINIMA>(&isum, panel, columns, sums);
}

/// Adds the term of a window of eight blocks to the sums of `NC` columns; `WORDS` words have a scale.
#[target_feature(enable = "neon")]
fn tile_32<const NC: usize, const WORDS: usize, const MINIMA: bool>(
    panel: &block32::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let proof = NeonI8mm::detect().expect("this tier's kernels run on CPUs that have it");
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    for half in 0..2 {
        let mut s = [[vdupq_n_f32(0.0); 2]; NC];
        for j in 0..panel.n_blocks.min(8) * 8 / WORDS {
            panel.ahead.ask_share(64 / WORDS * half + j, 2 * 64 / WORDS, prefetch_later);
            let dot = block_dots::<NC, WORDS, MINIMA>(proof, &panel.codes, columns, j, half);
            for c in 0..NC {
                for i in 0..2 {
                    let isum = column_of(&dot, c, i);
                    s[c][i] =
                        add_block::<WORDS, MINIMA>(s[c][i], isum, panel, &columns[c], (j, 2 * half + i));
                }
            }
        }
        for c in 0..NC {
            for i in 0..2 {
                let q = 2 * half + i;
                let sum = vaddq_f32(load_f32(&sums[c], q), s[c][i]);
                store_f32(&mut sums[c], q, sum);
            }
        }
    }
}

/// Rows `4 i ..` of column `c`, a row per lane.
#[inline]
#[target_feature(enable = "neon")]
fn column_of(dots: &[PairDots; 2], c: usize, i: usize) -> int32x4_t {
    let [low, high] = [dots[c / 2][2 * i], dots[c / 2][2 * i + 1]];
    if c.is_multiple_of(2) { vuzp1q_s32(low, high) } else { vuzp2q_s32(low, high) }
}

/// The products of block `j` of `WORDS` words of half the rows with pairs of columns, added to what a
/// bias has them begin with.
#[inline]
#[target_feature(enable = "neon")]
fn block_dots<const NC: usize, const WORDS: usize, const MINIMA: bool>(
    proof: NeonI8mm,
    codes: &[[u8; 64]; 64],
    columns: &[Column; NC],
    j: usize,
    half: usize,
) -> [PairDots; 2] {
    let mut dot = [[vdupq_n_s32(0); 4]; 2];
    if !MINIMA {
        for p in 0..NC.div_ceil(2) {
            let (first, second) = pair_of(columns, p);
            let sums = vzip1q_s32(vdupq_n_s32(first.sums[j]), vdupq_n_s32(second.sums[j]));
            dot[p] = [sums; 4];
        }
    }
    for four in WORDS / 4 * j..WORDS / 4 * (j + 1) {
        let mut y = [[vdupq_n_s8(0); 2]; 2];
        for p in 0..NC.div_ceil(2) {
            let (first, second) = pair_of(columns, p);
            let first = vreinterpretq_s64_s8(load_words(&first.codes.as_chunks().0[four]));
            let second = vreinterpretq_s64_s8(load_words(&second.codes.as_chunks().0[four]));
            y[p] = [
                vreinterpretq_s8_s64(vzip1q_s64(first, second)),
                vreinterpretq_s8_s64(vzip2q_s64(first, second)),
            ];
        }
        for eight in 0..2 {
            let rows = &codes[4 * four + 2 * eight + half];
            for r in 0..4 {
                let w = load_quarter(rows, r);
                for p in 0..NC.div_ceil(2) {
                    dot[p][r] = smmla(proof, dot[p][r], w, y[p][eight]);
                }
            }
        }
    }
    dot
}

/// Columns `2 p` and `2 p + 1`; the last stands in for one that is missing.
#[inline(always)]
fn pair_of<const NC: usize>(columns: &[Column; NC], p: usize) -> (&Column, &Column) {
    (&columns[2 * p], &columns[(2 * p + 1).min(NC - 1)])
}

/// Adds the products of two rows of eight codes with two columns.
#[inline]
#[target_feature(enable = "neon")]
fn smmla(_proof: NeonI8mm, mut acc: int32x4_t, w: int8x16_t, y: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes registers only, and the token proves that the CPU has
    // it. (The intrinsic for it is not stable.)
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {acc:v}.4s, {w:v}.16b, {y:v}.16b",
            acc = inout(vreg) acc, w = in(vreg) w, y = in(vreg) y,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
