//! The AVX2 kernels of the 32-weight types: what they share.
//!
//! Data flow, eight windows at a time:
//!
//! ```text
//! codes of a block --vpmaddubsw with activations--> i16 --vpmaddwd with 1--> i32
//! 8 blocks --transposing adds--> isum of 8 blocks in 8 lanes, converted
//! d of 8 blocks --convert, times dy--> staged with the isum as [block][window]
//! 8 windows staged: 8 steps of s = fma(isum, d * dy, s), a lane per window
//! ```
//!
//! The lanes are added to the sums of their rows, late, by [`RowSums`].
//!
//! `vpmaddubsw` adds two products in an i16. Those of 4 and 5 bits are bounded in [`nibbles`]; the
//! signs of Q8_0 move to the activations (which never hold -128), so that 2 * 128 * 127 is the most:
//! no saturation. A last window that is not full has terms of +0 for the blocks it lacks.

pub(crate) mod nibbles;
pub(crate) mod rows;

use core::arch::x86_64::*;

use crate::activation::Q8Window;
use crate::array;
use crate::block::row_sums::RowSums;
use crate::isa::avx2::{
    load_128, load_256, load_codes, load_f32, load_i32, prefetch_ahead, store_f32, store_f32x4, sums_of_8,
};

/// Windows worked on together, one per lane.
const GROUP: usize = 8;

/// One value per block of a group of windows: `[k / 4][window % 4][window / 4][k % 4]`, so that
/// four vectors of a half are eight 4x4 squares, which transpose inside their 128 bits.
type Staged = [[[[f32; 4]; 2]; 4]; 2];
const UNSTAGED: Staged = [[[[0.0; 4]; 2]; 4]; 2];

/// `out[r] = w[r] . x` for types without minima; `window(blocks, y, w)` gives `(isum, d * dy)` of each 32
/// weights of window `w`, which is `NB` blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv<const B: usize, const NB: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(&[[u8; B]; NB], &Q8Window, usize) -> (__m256, __m256),
) {
    let window = |blocks: &[[u8; B]; NB], y: &Q8Window, w| {
        let (isum, scale) = window(blocks, y, w);
        [isum, scale]
    };
    gemv_of_staged(weights, x, out, window, |staged| fused_chain(staged));
}

/// [`gemv`] for types whose halves of 32 weights have scales: `window` gives what [`gemv`] asks for of the first
/// halves, and of the second.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv_of_halves<const B: usize, const NB: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(&[[u8; B]; NB], &Q8Window, usize) -> [(__m256, __m256); 2],
) {
    let window = |blocks: &[[u8; B]; NB], y: &Q8Window, w| {
        let [first, second] = window(blocks, y, w);
        [first.0, first.1, second.0, second.1]
    };
    gemv_of_staged(weights, x, out, window, |staged| fused_chain_of_halves(staged));
}

/// `out[r] = w[r] . x` for types with minima; `window(blocks, y, w)` gives the terms of the eight
/// blocks of window `w`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv_with_minima<const B: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(&[[u8; B]; 8], &Q8Window, usize) -> __m256,
) {
    let window = |blocks: &[[u8; B]; 8], y: &Q8Window, w| [window(blocks, y, w)];
    gemv_of_staged(weights, x, out, window, |[terms]| sum_chain(terms));
}

/// `out[r] = w[r] . x`: `window(blocks, y, w)` gives `N` values of each 32 weights of window `w`, and `chain` the
/// sums of a group of windows from them.
///
/// A last window that is not full is taken with the blocks of the row that follows, and what those gave is set
/// to +0. Only the last row of all, which none follows, is filled up with zero blocks: that copies.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn gemv_of_staged<const B: usize, const NB: usize, const N: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(&[[u8; B]; NB], &Q8Window, usize) -> [__m256; N],
    chain: impl Fn(&[Staged; N]) -> [f32; GROUP],
) {
    let blocks = weights.as_chunks::<B>().0;
    let n_blocks = blocks.len() / out.len();
    let n_full = n_blocks / NB;
    let mask = load_f32(&mask_of_first(n_blocks % NB * (8 / NB)));
    let (mut now, mut before) = (&mut [UNSTAGED; N], &mut [UNSTAGED; N]);
    let mut lane = 0;
    let mut rows = RowSums::new(out, x.len());
    for first in (0..blocks.len()).step_by(n_blocks) {
        for (w, y) in x.iter().enumerate() {
            prefetch_ahead(weights, (first + NB * w) * B, NB * B);
            let mut padded = None;
            let rest = &blocks[first + NB * w..];
            let blocks = rest.first_chunk().unwrap_or_else(|| padded.insert(super::padded(rest)));
            let mut values = window(blocks, y, w);
            if w == n_full {
                for value in &mut values {
                    *value = _mm256_and_ps(*value, mask);
                }
            }
            for (now, value) in now.iter_mut().zip(values) {
                stage(now, lane, value);
            }
            rows.add_late(lane);
            lane += 1;
            if lane == GROUP {
                core::mem::swap(&mut now, &mut before);
                rows.replace(chain(now));
                lane = 0;
            }
        }
    }
    rows.finish(lane, chain(before), chain(now));
}

/// Bits that are all set in the first `n` of eight lanes.
fn mask_of_first(n: usize) -> [f32; 8] {
    array::build(|k| f32::from_bits(if k < n { u32::MAX } else { 0 }))
}

/// Puts the eight values of window `i` of a group where [`transposed`] expects them.
#[inline]
#[target_feature(enable = "avx2")]
fn stage(staged: &mut Staged, i: usize, values: __m256) {
    store_f32x4(&mut staged[0][i % 4][i / 4], _mm256_castps256_ps128(values));
    store_f32x4(&mut staged[1][i % 4][i / 4], _mm256_extractf128_ps::<1>(values));
}

/// Blocks `4 * half ..` of a staged group: vector `k` holds block `k` of windows 0..8.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(staged: &Staged, half: usize) -> [__m256; 4] {
    let row = |i: usize| load_f32(staged[half][i].as_flattened().first_chunk().expect("8 floats"));
    let (a, b, c, d) = (row(0), row(1), row(2), row(3));
    let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    [
        _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
        _mm256_shuffle_ps::<0xee>(ab_low, cd_low),
        _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
        _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
    ]
}

/// Eight window sums: `s = fma(isum, scale, s)` over the eight blocks.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fused_chain([sums, scales]: &[Staged; 2]) -> [f32; GROUP] {
    let mut s = _mm256_setzero_ps();
    for half in 0..2 {
        let (sums, scales) = (transposed(sums, half), transposed(scales, half));
        for k in 0..4 {
            s = _mm256_fmadd_ps(sums[k], scales[k], s);
        }
    }
    let mut lanes = [0.0; GROUP];
    store_f32(&mut lanes, s);
    lanes
}

/// [`fused_chain`] of the first halves and the second ones, in turn.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fused_chain_of_halves(
    [first_sums, first_scales, second_sums, second_scales]: &[Staged; 4],
) -> [f32; GROUP] {
    let mut s = _mm256_setzero_ps();
    for half in 0..2 {
        let (first_sums, first_scales) = (transposed(first_sums, half), transposed(first_scales, half));
        let (second_sums, second_scales) = (transposed(second_sums, half), transposed(second_scales, half));
        for k in 0..4 {
            s = _mm256_fmadd_ps(first_sums[k], first_scales[k], s);
            s = _mm256_fmadd_ps(second_sums[k], second_scales[k], s);
        }
    }
    let mut lanes = [0.0; GROUP];
    store_f32(&mut lanes, s);
    lanes
}

/// Eight window sums: `s = s + term` over the eight blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_chain(terms: &Staged) -> [f32; GROUP] {
    let mut s = _mm256_setzero_ps();
    for half in 0..2 {
        for term in transposed(terms, half) {
            s = _mm256_add_ps(s, term);
        }
    }
    let mut lanes = [0.0; GROUP];
    store_f32(&mut lanes, s);
    lanes
}

/// `sum(q * y)` of eight blocks, from their signed codes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn signed_block_sums(blocks: [__m256i; 8], y: &Q8Window) -> __m256 {
    let codes = y.codes.as_chunks::<32>().0;
    let dots =
        array::eight(|k| dot(_mm256_abs_epi8(blocks[k]), _mm256_sign_epi8(load_codes(&codes[k]), blocks[k])));
    _mm256_cvtepi32_ps(sums_of_8(dots))
}

/// Eight partial sums of the products of 32 unsigned and 32 signed codes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn dot(w: __m256i, y: __m256i) -> __m256i {
    _mm256_madd_epi16(_mm256_maddubs_epi16(w, y), _mm256_set1_epi16(1))
}

/// The eight terms of blocks with minima: `fma(isum, d * dy, m * (sum(y) * dy))`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn terms(isum: __m256, d: __m256, m: __m256, y: &Q8Window) -> __m256 {
    let dy = load_f32(&y.scales);
    let sums = _mm256_cvtepi32_ps(load_i32(&y.sums));
    _mm256_fmadd_ps(isum, _mm256_mul_ps(d, dy), _mm256_mul_ps(m, _mm256_mul_ps(sums, dy)))
}

/// `d * dy` of eight blocks.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn scaled(d: __m256, y: &Q8Window) -> __m256 {
    _mm256_mul_ps(d, load_f32(&y.scales))
}

/// The signed codes of a Q8_0 block.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn bytes(qs: &[u8; 32]) -> __m256i {
    load_256(qs)
}

/// The f16 at byte `AT` of each of eight blocks, as floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn f16s<const B: usize, const AT: usize>(blocks: &[[u8; B]; 8]) -> __m256 {
    // Words that stand first in loads of 16 bytes: seven shuffles, where insertions would take eight and each
    // wait for the one before.
    let first = |k: usize| load_128(blocks[k][AT..].first_chunk().expect("a block goes on behind its scale"));
    let two = |k: usize| _mm_unpacklo_epi16(first(k), first(k + 1));
    let four = |k: usize| _mm_unpacklo_epi32(two(k), two(k + 2));
    _mm256_cvtph_ps(_mm_unpacklo_epi64(four(0), four(4)))
}

/// The two f16 that each of eight blocks begins with, as floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn pairs_of_f16<const B: usize>(blocks: &[[u8; B]; 8]) -> (__m256, __m256) {
    let first = |k: usize| load_128(blocks[k].first_chunk().expect("a block goes on behind its scales"));
    let two = |k: usize| _mm_unpacklo_epi32(first(k), first(k + 1));
    // Of four blocks the first halves, then the second ones.
    let order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    let four = |k: usize| _mm_shuffle_epi8(_mm_unpacklo_epi64(two(k), two(k + 2)), order);
    let (low, high) = (four(0), four(4));
    (_mm256_cvtph_ps(_mm_unpacklo_epi64(low, high)), _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high)))
}
