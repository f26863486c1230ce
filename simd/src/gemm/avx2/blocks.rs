//! The AVX2 tile of the 32-weight types.
//!
//! Sixteen registers hold the 16-bit sums of both halves of the rows with four columns, a word of codes,
//! one of a column, and products; the window sums go to memory and back once a block. Per half, column and
//! block: eight products, seven sums and one widening (two, and a sum, for 5 bits), then three to five float
//! operations, on four vector units of which two multiply integers and two floats, one of them both.

use core::arch::x86_64::*;

use super::Halves;
use super::dots::{add_signed_dots, in_order, unsigned_dots};
use super::memory::{load_f32, store_f32};
use crate::gemm::{Column, Sums, block32};
use crate::isa::avx2::prefetch_later;

/// Adds the term of a window of eight blocks to the sums of `NC` columns. `SUB_WORDS` words have a scale. `WORDS`
/// words are summed in 16 bits; where that is one, codes are signed.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tile_32<const NC: usize, const SUB_WORDS: usize, const MINIMA: bool, const WORDS: usize>(
    panel: &block32::Panel,
    columns: &[Column],
    sums: &mut [Sums],
) {
    let columns: &[Column; NC] = columns.first_chunk().expect("as many columns");
    let sums: &mut [Sums; NC] = sums.first_chunk_mut().expect("as many sums");
    let ones = _mm256_set1_epi16(1);
    let mut s = [[_mm256_setzero_ps(); 2]; NC];
    for j in 0..panel.n_blocks.min(8) * 8 / SUB_WORDS {
        panel.ahead.ask_share(j, 64 / SUB_WORDS, prefetch_later);
        let mut isum = [[_mm256_setzero_si256(); 2]; NC];
        if WORDS == 1 {
            add_signed_dots!(isum, NC, 8, panel.codes, columns, j, [ones; 2]);
        } else {
            let dot = unsigned_dots!(NC, WORDS, panel.codes, columns, SUB_WORDS * j);
            for c in 0..NC {
                isum[c] = [_mm256_madd_epi16(dot[c][0], ones), _mm256_madd_epi16(dot[c][1], ones)];
            }
            if WORDS < SUB_WORDS {
                let dot = unsigned_dots!(NC, WORDS, panel.codes, columns, 8 * j + 4);
                for c in 0..NC {
                    for h in 0..2 {
                        isum[c][h] = _mm256_add_epi32(isum[c][h], _mm256_madd_epi16(dot[c][h], ones));
                    }
                }
            }
            if !MINIMA {
                for c in 0..NC {
                    let first = _mm256_set1_epi32(columns[c].sums[j]);
                    isum[c] = [_mm256_add_epi32(isum[c][0], first), _mm256_add_epi32(isum[c][1], first)];
                }
            }
        }
        let isum = match (MINIMA, WORDS) {
            (false, _) => in_order_all(floats(&isum)),
            (true, 8) => floats_in_order(&isum),
            (true, _) => floats(&isum),
        };
        add_block::<NC, SUB_WORDS, MINIMA>(&mut s, &isum, panel, columns, j);
    }
    for c in 0..NC {
        let sum = load_f32(&sums[c]);
        store_f32(&mut sums[c], [_mm256_add_ps(sum[0], s[c][0]), _mm256_add_ps(sum[1], s[c][1])]);
    }
}

/// The sums of a block as floats, computed when the compiler likes. Of the three orders, each is several
/// hundredths faster than the others for the class that takes it, as measured.
#[inline]
#[target_feature(enable = "avx2")]
fn floats<const NC: usize>(isum: &[Halves; NC]) -> [[__m256; 2]; NC] {
    let mut out = [[_mm256_setzero_ps(); 2]; NC];
    for c in 0..NC {
        out[c] = [_mm256_cvtepi32_ps(isum[c][0]), _mm256_cvtepi32_ps(isum[c][1])];
    }
    out
}

/// [`floats`], one by one.
#[inline]
#[target_feature(enable = "avx2")]
fn floats_in_order<const NC: usize>(isum: &[Halves; NC]) -> [[__m256; 2]; NC] {
    let mut out = [[_mm256_setzero_ps(); 2]; NC];
    for c in 0..NC {
        for h in 0..2 {
            out[c][h] = float_in_order(_mm256_cvtepi32_ps(isum[c][h]));
        }
    }
    out
}

/// All of a block's floats, before anything is done with one.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order_all<const NC: usize>(mut floats: [[__m256; 2]; NC]) -> [[__m256; 2]; NC] {
    for c in 0..NC {
        for h in 0..2 {
            floats[c][h] = float_in_order(floats[c][h]);
        }
    }
    floats
}

/// [`in_order`] for floats.
#[inline]
#[target_feature(enable = "avx2")]
fn float_in_order(v: __m256) -> __m256 {
    _mm256_castsi256_ps(in_order(_mm256_castps_si256(v)))
}

/// Adds the terms of block `j`, or half `j`, to window sums.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_block<const NC: usize, const SUB_WORDS: usize, const MINIMA: bool>(
    s: &mut [[__m256; 2]; NC],
    isum: &[[__m256; 2]; NC],
    panel: &block32::Panel,
    columns: &[Column; NC],
    j: usize,
) {
    let block = j * SUB_WORDS / 8;
    let (d, m) = (load_f32(panel.scale::<SUB_WORDS>(j)), load_f32(&panel.m[block]));
    for c in 0..NC {
        let dy = _mm256_set1_ps(columns[c].scales[block]);
        for h in 0..2 {
            let scale = _mm256_mul_ps(d[h], dy);
            s[c][h] = if MINIMA {
                let sum = _mm256_castsi256_ps(_mm256_set1_epi32(columns[c].sums[j]));
                let term = _mm256_fmadd_ps(isum[c][h], scale, _mm256_mul_ps(m[h], sum));
                _mm256_add_ps(s[c][h], term)
            } else {
                _mm256_fmadd_ps(isum[c][h], scale, s[c][h])
            };
        }
    }
}
