//! The AVX2 tiles: two vectors hold four codes of each of sixteen rows.
//!
//! `vpmaddubsw` multiplies unsigned codes with the four codes of a column, broadcast, and adds them in
//! pairs of 16 bits. As many of those as fit 16 bits are summed before one `vpmaddwd` widens them,
//! multiplying with the scale on its way where that is an integer: 8 for codes of 4 bits
//! (8 * 2 * 15 * 127 = 30480), 4 for 5 bits (31496), the 4 of a sub-block for fewer, 4 for 6 bits, whose
//! bias is subtracted in the same 16 bits (4 * 2 * 32 * 127 = 32512), and 32 for codes of 2 bits without
//! scales (32 * 2 * 3 * 127 = 24384). Codes of 8 bits stay signed: the column takes the sign of the code,
//! whose magnitude is at most 128 (2 * 128 * 127 = 32512).

use core::arch::x86_64::*;

use crate::activation::Q8KWindow;
use crate::gemm::k::{self, WHOLE};
use crate::gemm::{Column, Sums, Tile, block32};
use crate::isa::Avx2;
use crate::isa::avx2::prefetch_later;
use blocks::tile_32;
use dots::{add_first_sums, add_pairs, add_signed_dots, unsigned_dots};
use memory::{load, load_f32, store_f32};
use quad::Quad;
use tier::YmmTier;

mod blocks;
mod dots;
mod memory;
pub(super) mod quad;
pub(super) mod tier;

impl YmmTier for Avx2 {
    const BYTE_BIAS: i32 = 0;
    /// The products of a window are summed in 16 bits: 64 * 2 * 2 * 127 = 32512.
    const TOP_WHOLE_CODE: u32 = 2;
    const MAX_COLUMNS: usize = 4;

    fn look() -> Option<Self> {
        Self::detect()
    }

    /// Pairs of equal `i16`, for `vpmaddwd`.
    #[inline(always)]
    fn scales(self, quad: Quad) -> [Quad; 4] {
        // SAFETY: `self` proves the features.
        unsafe { quad::paired_scales(quad) }
    }

    #[inline(always)]
    fn signed_codes(self, quad: Quad) -> Quad {
        quad
    }

    /// For every four words, what the two sums of 16 bits of a row begin with: `-bias` times the sum of the codes that meet
    /// each. The sums may wrap on their way, as they end within `8 * 32 * 127 = 32512`.
    #[inline(always)]
    fn first_sums(window: &Q8KWindow, class: k::Class) -> [i32; 16] {
        let mut sums = [0; 16];
        for (j, (sum, codes)) in sums.iter_mut().zip(window.codes.as_chunks::<16>().0).enumerate() {
            let low: i32 = codes.as_chunks().0.iter().map(|&[a, b, _, _]| i32::from(a) + i32::from(b)).sum();
            let high = i32::from(window.sums[j]) - low;
            *sum = (-class.bias * low) & 0xffff | (-class.bias * high) << 16;
        }
        sums
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        match (class.sub_words, class.minima, class.bits) {
            (8, 8, 4) => TILES_K_8_MINIMA_4_BITS[n_columns - 1],
            (8, 8, 5) => TILES_K_8_MINIMA_5_BITS[n_columns - 1],
            (4, 16, 2) => TILES_K_4_MINIMA_2_BITS[n_columns - 1],
            (8, 0, 5) => TILES_K_8_5_BITS[n_columns - 1],
            (4, 0, 3..=6) => TILES_K_4_6_BITS[n_columns - 1],
            (8, 0, 8) => TILES_K_8_8_BITS[n_columns - 1],
            (4, 0, 8) => TILES_K_4_8_BITS[n_columns - 1],
            (WHOLE, 0, 2) => TILES_K_WHOLE_2_BITS[n_columns - 1],
            _ => unreachable!("no type has this class"),
        }
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        match (class.sub_words, class.minima, class.bits) {
            (8, false, 4) => TILES_32_4_BITS[n_columns - 1],
            (8, false, 5) => TILES_32_5_BITS[n_columns - 1],
            (8, false, 8) => TILES_32_8_BITS[n_columns - 1],
            (4, false, 5) => TILES_16_5_BITS[n_columns - 1],
            (8, true, 4) => TILES_32_MINIMA_4_BITS[n_columns - 1],
            (8, true, 5) => TILES_32_MINIMA_5_BITS[n_columns - 1],
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

type Tiles<Panel> = [Tile<Panel>; <Avx2 as YmmTier>::MAX_COLUMNS];
static TILES_K_8_MINIMA_4_BITS: Tiles<k::Panel> = tiles!(tile_k, 8, 8, 8);
static TILES_K_8_MINIMA_5_BITS: Tiles<k::Panel> = tiles!(tile_k, 8, 8, 4);
static TILES_K_4_MINIMA_2_BITS: Tiles<k::Panel> = tiles!(tile_k, 4, 16, 4);
static TILES_K_8_5_BITS: Tiles<k::Panel> = tiles!(tile_k, 8, 0, 4);
static TILES_K_4_6_BITS: Tiles<k::Panel> = tiles!(tile_k, 4, 0, 4);
static TILES_K_8_8_BITS: Tiles<k::Panel> = tiles!(tile_k, 8, 0, 1);
static TILES_K_4_8_BITS: Tiles<k::Panel> = tiles!(tile_k, 4, 0, 1);
static TILES_K_WHOLE_2_BITS: Tiles<k::Panel> = tiles!(tile_k, WHOLE, 0, 32);
static TILES_32_4_BITS: Tiles<block32::Panel> = tiles!(tile_32, 8, false, 8);
static TILES_32_5_BITS: Tiles<block32::Panel> = tiles!(tile_32, 8, false, 4);
static TILES_32_8_BITS: Tiles<block32::Panel> = tiles!(tile_32, 8, false, 1);
static TILES_16_5_BITS: Tiles<block32::Panel> = tiles!(tile_32, 4, false, 4);
static TILES_32_MINIMA_4_BITS: Tiles<block32::Panel> = tiles!(tile_32, 8, true, 8);
static TILES_32_MINIMA_5_BITS: Tiles<block32::Panel> = tiles!(tile_32, 8, true, 4);

/// One vector for the upper eight rows, one for the lower.
type Halves = [__m256i; 2];

/// Adds the term of a super-block to the sums of `NC` columns. `WORDS` words are summed in 16 bits;
/// where that is one, codes are signed.
///
/// A scaled sum stays below 2^27, that of the minima below 2^21: see the types' definitions.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_k<const NC: usize, const SUB_WORDS: usize, const MINIMA: usize, const WORDS: usize>(
    panel: &k::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let ones = [_mm256_set1_epi16(1); 2];
    let mut isum = [[_mm256_setzero_si256(); 2]; NC];
    for j in 0..64 / SUB_WORDS {
        panel.ahead.ask_share(j, 64 / SUB_WORDS, prefetch_later);
        let scale = if SUB_WORDS == WHOLE { ones } else { load(&panel.scales[j]) };
        if SUB_WORDS == WHOLE {
            for c in 0..NC {
                isum[c] = [_mm256_set1_epi32(columns[c].sums[j]); 2];
            }
        }
        if WORDS == 1 {
            add_signed_dots!(isum, NC, SUB_WORDS, panel.codes, columns, j, scale);
        } else {
            for group in 0..SUB_WORDS / WORDS {
                let first = SUB_WORDS * j + WORDS * group;
                let mut dot = unsigned_dots!(NC, WORDS, panel.codes, columns, first);
                if MINIMA == 0 && SUB_WORDS != WHOLE {
                    add_first_sums(&mut dot, columns, first / 4);
                }
                for c in 0..NC {
                    for h in 0..2 {
                        isum[c][h] = _mm256_add_epi32(isum[c][h], _mm256_madd_epi16(dot[c][h], scale[h]));
                    }
                }
            }
        }
    }
    let mut msum = [[_mm256_setzero_si256(); 2]; NC];
    for j in 0..MINIMA / 2 {
        add_pairs(&mut msum, load(&panel.minima[j]), columns, j);
    }
    let (d, dmin) = (load_f32(&panel.d), load_f32(&panel.dmin));
    for c in 0..NC {
        let dy = _mm256_set1_ps(columns[c].scales[0]);
        let mut sum = load_f32(&sums[c]);
        for h in 0..2 {
            let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(isum[c][h]), _mm256_mul_ps(d[h], dy));
            if MINIMA > 0 {
                term = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(msum[c][h]), _mm256_mul_ps(dmin[h], dy), term);
            }
            sum[h] = _mm256_add_ps(sum[h], term);
        }
        store_f32(&mut sums[c], sum);
    }
}
