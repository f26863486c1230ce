//! The integer sums of the AVX2 tiles.

use core::arch::x86_64::*;

use super::Halves;
use crate::gemm::Column;

/// Adds the products of pairs of `i16` of each row with the pair `sums[j]` of each column.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_pairs<const NC: usize>(
    acc: &mut [Halves; NC],
    pairs: Halves,
    columns: &[Column; NC],
    j: usize,
) {
    for c in 0..NC {
        let sum = _mm256_set1_epi32(columns[c].sums[j]);
        for h in 0..2 {
            acc[c][h] = _mm256_add_epi32(acc[c][h], _mm256_madd_epi16(pairs[h], sum));
        }
    }
}

/// Adds to sums of 16 bits what they begin with for a bias; see [`super::YmmTier::first_sums`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_first_sums<const NC: usize>(dot: &mut [Halves; NC], columns: &[Column; NC], j: usize) {
    for c in 0..NC {
        let first = _mm256_set1_epi32(columns[c].sums[j]);
        dot[c] = [_mm256_add_epi16(dot[c][0], first), _mm256_add_epi16(dot[c][1], first)];
    }
}

/// The products of `$words` words of unsigned codes, 4, 8 or 32, from the `$first`, with `$nc` columns, as
/// two sums of 16 bits a row. A macro, and four words at a time written out, because the compiler would
/// neither inline a function of so many instructions nor unroll a loop of them.
macro_rules! unsigned_dots {
    ($nc:ident, $words:ident, $codes:expr, $columns:expr, $first:expr) => {{
        let mut dot = [[_mm256_setzero_si256(); 2]; $nc];
        let w = $crate::gemm::avx2::memory::load_codes(&$codes[$first]);
        for c in 0..$nc {
            dot[c] = $crate::gemm::avx2::dots::word_products(w, $columns[c].codes[$first]);
        }
        $crate::gemm::avx2::dots::add_words!(dot, $nc, $codes, $columns, $first, 1 2 3);
        if $words > 4 {
            $crate::gemm::avx2::dots::add_words!(dot, $nc, $codes, $columns, $first, 4 5 6 7);
        }
        let mut next = 8;
        while next < $words {
            $crate::gemm::avx2::dots::add_words!(dot, $nc, $codes, $columns, $first + next, 0 1 2 3);
            next += 4;
        }
        dot
    }};
}
pub(super) use unsigned_dots;

/// Adds the products of some words.
macro_rules! add_words {
    ($dot:ident, $nc:ident, $codes:expr, $columns:expr, $first:expr, $($i:literal)*) => {$(
        let i = $first + $i;
        let w = $crate::gemm::avx2::memory::load_codes(&$codes[i]);
        for c in 0..$nc {
            let products = $crate::gemm::avx2::dots::word_products(w, $columns[c].codes[i]);
            for h in 0..2 {
                let sum = _mm256_add_epi16($dot[c][h], products[h]);
                $dot[c][h] = $crate::gemm::avx2::dots::in_order(sum);
            }
        }
    )*};
}
pub(super) use add_words;

/// The products of a word of each row with a word of a column, in pairs.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn word_products(w: Halves, y: i32) -> Halves {
    let y = _mm256_set1_epi32(y);
    [in_order(_mm256_maddubs_epi16(w[0], y)), in_order(_mm256_maddubs_epi16(w[1], y))]
}

/// Has the compiler compute `v` here, after what it was told so of before, and before the loads that
/// follow. It would rather load all words of a block first, for which there are too few registers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn in_order(mut v: __m256i) -> __m256i {
    // SAFETY: there is no instruction.
    unsafe { core::arch::asm!("/* {0} */", inout(ymm_reg) v, options(nostack, preserves_flags)) };
    v
}

/// Has the compiler finish a sum where it stands: it would rather compute all products of a column
/// first and add them as a tree, for which there are too few registers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn in_register(mut v: __m256i) -> __m256i {
    // SAFETY: there is no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(ymm_reg) v, options(pure, nomem, nostack, preserves_flags));
    };
    v
}

/// Adds the products of the `$words` words of block `$j` of signed codes, times pairs of equal `i16` for each row.
/// A macro, because a call would take the sums from their registers to memory and back.
macro_rules! add_signed_dots {
    ($isum:ident, $nc:ident, $words:expr, $codes:expr, $columns:expr, $j:expr, $scale:expr) => {{
        let codes: &[[u8; 64]; $words] = &$codes.as_chunks().0[$j];
        for i in 0..$words {
            let w = $crate::gemm::avx2::memory::load_codes(&codes[i]);
            for h in 0..2 {
                let magnitude = _mm256_abs_epi8(w[h]);
                for c in 0..$nc {
                    let y = _mm256_set1_epi32($columns[c].codes[$words * $j + i]);
                    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(y, w[h]));
                    let sum = _mm256_add_epi32($isum[c][h], _mm256_madd_epi16(pairs, $scale[h]));
                    $isum[c][h] = $crate::gemm::avx2::dots::in_register(sum);
                }
            }
        }
    }};
}
pub(super) use add_signed_dots;
