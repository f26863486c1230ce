//! The AVX-VNNI tiles: as those of AVX-512, with two vectors of eight rows and sixteen registers.
//!
//! Sixteen registers hold the sums of eight rows with six columns, their scaled (or float) sums, a vector
//! of codes and a broadcast word of a column: so the halves of a panel follow one another.
//! Per panel and column of a window: 128 `vpdpbusd`, each with a `vpbroadcastd` from the L1 cache; for a
//! K type a product and an addition per half and sub-block, and half a `vpdpwssd` per sub-block for the
//! minima; for a 32-weight type two float operations a half and block, and two more with minima. Bounds:
//! [`super::avx512`].
//!
//! The instructions are written in assembly, in a form a token stands for ([`Vnni`]), and everything
//! around them is AVX2. So the tests can run the very tiles on a CPU that has the instructions of 256
//! bits in the form of AVX-512 VL only: that differs in the encoding, not in the arithmetic.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::gemm::avx2::quad::{self, Quad};
use crate::gemm::avx2::tier::YmmTier;
use crate::gemm::k::{self, WHOLE};
use crate::gemm::{Column, Sums, Tile, block32};
use crate::isa::AvxVnni;
use crate::isa::avx2::{load_256, load_f32, load_i32, prefetch_later, store_f32};

#[cfg(test)]
mod tests;

/// Proof that the CPU has AVX2, and the VNNI instructions of 256 bits in some form.
pub(crate) trait Vnni: Copy {
    /// Looks at the CPU.
    fn find() -> Option<Self>;

    /// Adds to each lane of `acc` the products of its four codes with four activations.
    fn dpbusd(self, acc: __m256i, codes: __m256i, y: __m256i) -> __m256i;

    /// Adds to each lane of `acc` the two products of its pairs of `i16`.
    fn dpwssd(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

/// A function that is one instruction, in the form that its text names.
macro_rules! instruction {
    ($name:ident, $text:literal) => {
        /// # Safety
        /// The CPU has the instruction in this form.
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn $name(mut acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: the instruction reads and writes registers only; the CPU has it, by this function's
            // contract.
            unsafe {
                asm!($text, acc = inout(ymm_reg) acc, a = in(ymm_reg) a, b = in(ymm_reg) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
            acc
        }
    };
}
#[cfg(test)]
use instruction;

instruction!(vex_dpbusd, "{{vex}} vpdpbusd {acc}, {a}, {b}");
instruction!(vex_dpwssd, "{{vex}} vpdpwssd {acc}, {a}, {b}");

impl Vnni for AvxVnni {
    fn find() -> Option<Self> {
        Self::detect()
    }

    #[inline(always)]
    fn dpbusd(self, acc: __m256i, codes: __m256i, y: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2 and this form.
        unsafe { vex_dpbusd(acc, codes, y) }
    }

    #[inline(always)]
    fn dpwssd(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2 and this form.
        unsafe { vex_dpwssd(acc, a, b) }
    }
}

/// A table of the tiles of a class, by the number of columns less one.
macro_rules! tiles {
    ($tile:ident, $($class:tt),*) => {
        const {
            [
                $tile::<1, $($class),*>, $tile::<2, $($class),*>, $tile::<3, $($class),*>,
                $tile::<4, $($class),*>, $tile::<5, $($class),*>, $tile::<6, $($class),*>,
            ]
        }
    };
}

impl<T: Vnni> YmmTier for T {
    const BYTE_BIAS: i32 = 128;
    const TOP_WHOLE_CODE: u32 = 255;
    const MAX_COLUMNS: usize = 6;

    fn look() -> Option<Self> {
        T::find()
    }

    #[inline(always)]
    fn scales(self, quad: Quad) -> [Quad; 4] {
        // SAFETY: a CPU with VNNI has AVX2.
        unsafe { quad::scales(quad) }
    }

    #[inline(always)]
    fn signed_codes(self, quad: Quad) -> Quad {
        // SAFETY: a CPU with VNNI has AVX2.
        Quad(unsafe {
            let top = _mm256_set1_epi8(-128);
            [_mm256_xor_si256(quad.0[0], top), _mm256_xor_si256(quad.0[1], top)]
        })
    }

    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel> {
        let tiles: [Tile<k::Panel>; 6] = match (class.sub_words, class.minima) {
            (8, 8) => tiles!(tile_k, T, 8, 8),
            (4, 0) => tiles!(tile_k, T, 4, 0),
            (8, 0) => tiles!(tile_k, T, 8, 0),
            (WHOLE, 16) => tiles!(tile_k, T, WHOLE, 16),
            (WHOLE, 0) => tiles!(tile_k, T, WHOLE, 0),
            _ => unreachable!("no type has this class"),
        };
        tiles[n_columns - 1]
    }

    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel> {
        let tiles: [Tile<block32::Panel>; 6] = match (class.sub_words, class.minima) {
            (8, true) => tiles!(tile_32, T, 8, true),
            (8, false) => tiles!(tile_32, T, 8, false),
            (4, false) => tiles!(tile_32, T, 4, false),
            _ => unreachable!("no type has this class"),
        };
        tiles[n_columns - 1]
    }
}

/// Adds the term of a super-block to the sums of `NC` columns.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_k<const NC: usize, T: Vnni, const SUB_WORDS: usize, const MINIMA: usize>(
    panel: &k::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let tier = T::find().expect("this tier's kernels run on CPUs that have it");
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    for h in 0..2 {
        let mut isum = [_mm256_setzero_si256(); NC];
        for j in 0..64 / SUB_WORDS {
            panel.ahead.ask_share(64 / SUB_WORDS * h + j, 2 * 64 / SUB_WORDS, prefetch_later);
            let dot = if MINIMA > 0 {
                block_dots::<NC, T, SUB_WORDS, true>(tier, &panel.codes, columns, j, h)
            } else {
                block_dots::<NC, T, SUB_WORDS, false>(tier, &panel.codes, columns, j, h)
            };
            if SUB_WORDS == WHOLE {
                isum = dot;
                continue;
            }
            let scale = load_i32(&panel.scales[j].as_chunks().0[h]);
            for c in 0..NC {
                isum[c] = _mm256_add_epi32(isum[c], _mm256_mullo_epi32(dot[c], scale));
            }
        }
        let mut msum = [_mm256_setzero_si256(); NC];
        for j in 0..MINIMA / 2 {
            let minima = load_i32(&panel.minima[j].as_chunks().0[h]);
            for c in 0..NC {
                msum[c] = tier.dpwssd(msum[c], minima, _mm256_set1_epi32(columns[c].sums[j]));
            }
        }
        let (d, dmin) = (load_f32(&panel.d.as_chunks().0[h]), load_f32(&panel.dmin.as_chunks().0[h]));
        for c in 0..NC {
            let dy = _mm256_set1_ps(columns[c].scales[0]);
            let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(isum[c]), _mm256_mul_ps(d, dy));
            if MINIMA > 0 {
                term = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(msum[c]), _mm256_mul_ps(dmin, dy), term);
            }
            add_half(&mut sums[c], h, term);
        }
    }
}

/// Adds the term of a window of eight blocks to the sums of `NC` columns; `WORDS` words have a scale.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_32<const NC: usize, T: Vnni, const WORDS: usize, const MINIMA: bool>(
    panel: &block32::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let tier = T::find().expect("this tier's kernels run on CPUs that have it");
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    for h in 0..2 {
        let mut s = [_mm256_setzero_ps(); NC];
        for j in 0..panel.n_blocks.min(8) * 8 / WORDS {
            panel.ahead.ask_share(64 / WORDS * h + j, 2 * 64 / WORDS, prefetch_later);
            let dot = block_dots::<NC, T, WORDS, MINIMA>(tier, &panel.codes, columns, j, h);
            let (block, scales) = (j * WORDS / 8, panel.scale::<WORDS>(j));
            let (d, m) = (load_f32(&scales.as_chunks().0[h]), load_f32(&panel.m[block].as_chunks().0[h]));
            for c in 0..NC {
                let dy = _mm256_set1_ps(columns[c].scales[block]);
                let (isum, scale) = (_mm256_cvtepi32_ps(dot[c]), _mm256_mul_ps(d, dy));
                s[c] = if MINIMA {
                    let sum = _mm256_castsi256_ps(_mm256_set1_epi32(columns[c].sums[j]));
                    let term = _mm256_fmadd_ps(isum, scale, _mm256_mul_ps(m, sum));
                    _mm256_add_ps(s[c], term)
                } else {
                    _mm256_fmadd_ps(isum, scale, s[c])
                };
            }
        }
        for c in 0..NC {
            add_half(&mut sums[c], h, s[c]);
        }
    }
}

/// The products of block `j` of `WORDS` words of half `h` of the rows, added to what a bias has them
/// begin with.
#[inline]
#[target_feature(enable = "avx2")]
fn block_dots<const NC: usize, T: Vnni, const WORDS: usize, const MINIMA: bool>(
    tier: T,
    codes: &[[u8; 64]; 64],
    columns: &[Column; NC],
    j: usize,
    h: usize,
) -> [__m256i; NC] {
    let mut dot = [_mm256_setzero_si256(); NC];
    if !MINIMA {
        for c in 0..NC {
            dot[c] = _mm256_set1_epi32(columns[c].sums[j]);
        }
    }
    for k in WORDS * j..WORDS * (j + 1) {
        let w = load_256(&codes[k].as_chunks().0[h]);
        for c in 0..NC {
            dot[c] = tier.dpbusd(dot[c], w, _mm256_set1_epi32(columns[c].codes[k]));
        }
    }
    dot
}

/// Adds the terms of half `h` of the rows to their sums.
#[inline]
#[target_feature(enable = "avx2")]
fn add_half(sums: &mut Sums, h: usize, terms: __m256) {
    let half = &mut sums.as_chunks_mut().0[h];
    let sum = _mm256_add_ps(load_f32(half), terms);
    store_f32(half, sum);
}
