//! The NEON tiles of a row per lane: four vectors hold four codes of each of sixteen rows, and each dot
//! takes the four codes of a column from a lane of a vector that holds sixteen.
//!
//! Per panel and column of a window: 256 `sdot`; for a K type a multiply-add with the scales per vector
//! and sub-block, for a 32-weight type a conversion, a product and a fused multiply-add. Without `sdot`
//! there are two products of eight codes in its place, added in 16 bits as long as they fit, then a
//! pairwise addition in 16 bits and one that widens. Codes of less than 8 bits are valid signed bytes as
//! they are, those of 8 bits stay signed.

use core::arch::aarch64::*;
use core::arch::asm;

use super::NeonTier;
use super::terms::{Dots, add_block, add_super_block, load, load_f32, store_f32};
use crate::gemm::k::{self, WHOLE};
use crate::gemm::{Column, Sums, Tile, block32};
use crate::isa::neon::{load_u8, prefetch_later};
use crate::isa::{Neon, NeonDotprod};

/// A tier whose tiles have a row per lane.
pub(super) trait RowTier: NeonTier {
    /// Adds the products of four words of codes of sixteen rows with a column's sixteen codes. In 16
    /// bits, `FIT` words of products can be added: `2 * FIT * 127` times the largest magnitude of a code
    /// is less than 2^15.
    fn add_words<const NC: usize, const FIT: usize>(
        self,
        dot: &mut [Dots; NC],
        codes: &[[u8; 64]; 4],
        y: &[int8x16_t; NC],
    );
}

impl RowTier for Neon {
    #[inline(always)]
    fn add_words<const NC: usize, const FIT: usize>(
        self,
        dot: &mut [Dots; NC],
        codes: &[[u8; 64]; 4],
        y: &[int8x16_t; NC],
    ) {
        // SAFETY: `self` proves NEON.
        unsafe { widened_words::<NC, FIT>(dot, codes, y) }
    }
}

impl RowTier for NeonDotprod {
    #[inline(always)]
    fn add_words<const NC: usize, const FIT: usize>(
        self,
        dot: &mut [Dots; NC],
        codes: &[[u8; 64]; 4],
        y: &[int8x16_t; NC],
    ) {
        // SAFETY: `self` proves NEON.
        unsafe {
            add_word::<NC, 0>(self, dot, &codes[0], y);
            add_word::<NC, 1>(self, dot, &codes[1], y);
            add_word::<NC, 2>(self, dot, &codes[2], y);
            add_word::<NC, 3>(self, dot, &codes[3], y);
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
pub(super) fn tile_of_k<T: RowTier>(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
    let tiles: [Tile<k::Panel>; 4] = match (class.sub_words, class.minima, class.bits) {
        (8, 8, ..6) => tiles!(tile_k, T, 8, 8, 4),
        (4, 0, ..6) => tiles!(tile_k, T, 4, 0, 4),
        (4, 0, 6) => tiles!(tile_k, T, 4, 0, 2),
        (8, 0, ..6) => tiles!(tile_k, T, 8, 0, 4),
        (8, 0, 8) => tiles!(tile_k, T, 8, 0, 1),
        (4, 0, 8) => tiles!(tile_k, T, 4, 0, 1),
        (WHOLE, 0, ..6) => tiles!(tile_k, T, WHOLE, 0, 4),
        (WHOLE, 16, 6) => tiles!(tile_k, T, WHOLE, 16, 2),
        _ => unreachable!("no type has this class"),
    };
    tiles[n_columns - 1]
}

/// The tile of a 32-weight type for some columns.
pub(super) fn tile_of_32<T: RowTier>(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
    let tiles: [Tile<block32::Panel>; 4] = match (class.sub_words, class.minima, class.bits) {
        (8, true, ..6) => tiles!(tile_32, T, 8, true, 4),
        (8, false, ..6) => tiles!(tile_32, T, 8, false, 4),
        (8, false, 8) => tiles!(tile_32, T, 8, false, 1),
        (4, false, ..6) => tiles!(tile_32, T, 4, false, 4),
        _ => unreachable!("no type has this class"),
    };
    tiles[n_columns - 1]
}

/// Adds the term of a super-block to the sums of `NC` columns.
#[target_feature(enable = "neon")]
fn tile_k<const NC: usize, T: RowTier, const SUB_WORDS: usize, const MINIMA: usize, const FIT: usize>(
    panel: &k::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let tier = T::look().expect("this tier's kernels run on CPUs that have it");
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut isum = [[vdupq_n_s32(0); 4]; NC];
    for j in 0..64 / SUB_WORDS {
        panel.ahead.ask_share(j, 64 / SUB_WORDS, prefetch_later);
        let dot = if MINIMA > 0 {
            block_dots::<T, NC, SUB_WORDS, true, FIT>(tier, &panel.codes, columns, j)
        } else {
            block_dots::<T, NC, SUB_WORDS, false, FIT>(tier, &panel.codes, columns, j)
        };
        if SUB_WORDS == WHOLE {
            isum = dot;
            continue;
        }
        for q in 0..4 {
            let scale = load(&panel.scales[j], q);
            for c in 0..NC {
                isum[c][q] = vmlaq_s32(isum[c][q], dot[c][q], scale);
            }
        }
    }
    add_super_block::<NC, MINIMA>(&isum, panel, columns, sums);
}

/// Adds the term of a window of eight blocks to the sums of `NC` columns; `WORDS` words have a scale.
#[target_feature(enable = "neon")]
fn tile_32<const NC: usize, T: RowTier, const WORDS: usize, const MINIMA: bool, const FIT: usize>(
    panel: &block32::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let tier = T::look().expect("this tier's kernels run on CPUs that have it");
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let mut s = [[vdupq_n_f32(0.0); 4]; NC];
    for j in 0..panel.n_blocks.min(8) * 8 / WORDS {
        panel.ahead.ask_share(j, 64 / WORDS, prefetch_later);
        let dot = block_dots::<T, NC, WORDS, MINIMA, FIT>(tier, &panel.codes, columns, j);
        for c in 0..NC {
            for q in 0..4 {
                s[c][q] = add_block::<WORDS, MINIMA>(s[c][q], dot[c][q], panel, &columns[c], (j, q));
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
#[target_feature(enable = "neon")]
fn block_dots<T: RowTier, const NC: usize, const WORDS: usize, const MINIMA: bool, const FIT: usize>(
    tier: T,
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
    for four in WORDS / 4 * j..WORDS / 4 * (j + 1) {
        let mut y = [vdupq_n_s8(0); NC];
        for c in 0..NC {
            y[c] = load_words(&columns[c].codes.as_chunks().0[four]);
        }
        tier.add_words::<NC, FIT>(&mut dot, &codes.as_chunks().0[four], &y);
    }
    dot
}

/// See [`RowTier::add_words`].
#[inline]
#[target_feature(enable = "neon")]
fn widened_words<const NC: usize, const FIT: usize>(
    dot: &mut [Dots; NC],
    codes: &[[u8; 64]; 4],
    y: &[int8x16_t; NC],
) {
    let mut words = [[vdupq_n_s8(0); 4]; NC];
    for c in 0..NC {
        let y = vreinterpretq_s32_s8(y[c]);
        words[c] = [
            vreinterpretq_s8_s32(vdupq_laneq_s32::<0>(y)),
            vreinterpretq_s8_s32(vdupq_laneq_s32::<1>(y)),
            vreinterpretq_s8_s32(vdupq_laneq_s32::<2>(y)),
            vreinterpretq_s8_s32(vdupq_laneq_s32::<3>(y)),
        ];
    }
    for q in 0..4 {
        for first in (0..4).step_by(FIT) {
            let mut low = [vdupq_n_s16(0); NC];
            let mut high = [vdupq_n_s16(0); NC];
            for k in first..first + FIT {
                let w = load_quarter(&codes[k], q);
                for c in 0..NC {
                    low[c] = vmlal_s8(low[c], vget_low_s8(w), vget_low_s8(words[c][k]));
                    high[c] = vmlal_high_s8(high[c], w, words[c][k]);
                }
            }
            for c in 0..NC {
                // Two rows in each, two sums a row.
                dot[c][q] = vpadalq_s16(dot[c][q], vpaddq_s16(low[c], high[c]));
            }
        }
    }
}

/// Adds the products of a word of codes of sixteen rows with word `LANE` of each column.
#[inline]
#[target_feature(enable = "neon")]
fn add_word<const NC: usize, const LANE: usize>(
    proof: NeonDotprod,
    dot: &mut [Dots; NC],
    codes: &[u8; 64],
    y: &[int8x16_t; NC],
) {
    for q in 0..4 {
        let w = load_quarter(codes, q);
        for c in 0..NC {
            dot[c][q] = sdot_lane::<LANE>(proof, dot[c][q], w, y[c]);
        }
    }
}

/// Adds to each lane of `acc` the products of its four codes with those in lane `LANE` of `y`.
#[inline]
#[target_feature(enable = "neon")]
fn sdot_lane<const LANE: usize>(
    _proof: NeonDotprod,
    mut acc: int32x4_t,
    w: int8x16_t,
    y: int8x16_t,
) -> int32x4_t {
    // SAFETY: the instruction reads and writes registers only, and the token proves that the CPU has
    // it. (The intrinsic for it is not stable.)
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {w:v}.16b, {y:v}.4b[{lane}]",
            acc = inout(vreg) acc, w = in(vreg) w, y = in(vreg) y, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Four words of activation codes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_words(words: &[i32; 4]) -> int8x16_t {
    // SAFETY: the reference is to 16 readable bytes.
    unsafe { vld1q_s8(words.as_ptr().cast()) }
}

/// Sixteen codes of 64.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_quarter(codes: &[u8; 64], q: usize) -> int8x16_t {
    vreinterpretq_s8_u8(load_u8(&codes.as_chunks().0[q]))
}
