//! The AVX-512 kernels of the 32-weight types: what they share.
//!
//! Data flow, sixteen windows at a time:
//!
//! ```text
//! 8 blocks of a window --codes--> 4 x 64 u8 --vpdpbusd with 4 x 64 activations--> i32 lanes
//!    --transposing adds--> isum of 8 blocks in 8 lanes --convert--+
//! d of 8 blocks --permute--> 8 f16 --convert, times dy------------+--> staged as [block][window]
//! 16 windows staged: 8 steps of s = fma(isum, d * dy, s), a lane per window
//! ```
//!
//! The lanes are added to the sums of their rows, late, by [`RowSums`].
//!
//! A lane of `vpdpbusd` holds four products of at most 255 * 128, a block's sum 32 of them: no
//! overflow. Codes enter unsigned; what a bias adds, `bias * sum(y)`, is subtracted from the sum.
//! A last window that is not full has terms of +0 for the blocks it lacks.

pub(crate) mod nibbles;

use core::arch::x86_64::*;

use crate::activation::Q8Window;
use crate::array;
use crate::block::row_sums::RowSums;
use crate::isa::avx2::{load_f32, load_i32, store_f32x4};
use crate::isa::avx512::{self, load_512};

/// Windows worked on together, one per lane.
const GROUP: usize = 16;

/// One value per block of a group of windows: `[k / 4][window % 4][window / 4][k % 4]`, so that
/// four vectors of a half are sixteen 4x4 squares, which transpose inside their 128 bits.
type Staged = [[[[f32; 4]; 4]; 4]; 2];
const UNSTAGED: Staged = [[[[0.0; 4]; 4]; 4]; 2];

/// `out[r] = w[r] . x` for types without minima; `window(blocks, y, w)` gives `(isum, d * dy)` of each 32
/// weights of window `w`, which is `NB` blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
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
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn stage(staged: &mut Staged, i: usize, values: __m256) {
    store_f32x4(&mut staged[0][i % 4][i / 4], _mm256_castps256_ps128(values));
    store_f32x4(&mut staged[1][i % 4][i / 4], _mm256_extractf128_ps::<1>(values));
}

/// Blocks `4 * half ..` of a staged group: vector `k` holds block `k` of windows 0..16.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2")]
fn transposed(staged: &Staged, half: usize) -> [__m512; 4] {
    let row = |i: usize| avx512::load_f32(staged[half][i].as_flattened().first_chunk().expect("16 floats"));
    let (a, b, c, d) = (row(0), row(1), row(2), row(3));
    let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    [
        _mm512_shuffle_ps::<0x44>(ab_low, cd_low),
        _mm512_shuffle_ps::<0xee>(ab_low, cd_low),
        _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
        _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
    ]
}

/// Sixteen window sums: `s = fma(isum, scale, s)` over the eight blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2")]
fn fused_chain([sums, scales]: &[Staged; 2]) -> [f32; GROUP] {
    let mut s = _mm512_setzero_ps();
    for half in 0..2 {
        let (sums, scales) = (transposed(sums, half), transposed(scales, half));
        for k in 0..4 {
            s = _mm512_fmadd_ps(sums[k], scales[k], s);
        }
    }
    let mut lanes = [0.0; GROUP];
    avx512::store_f32(&mut lanes, s);
    lanes
}

/// [`fused_chain`] of the first halves and the second ones, in turn.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2")]
fn fused_chain_of_halves(
    [first_sums, first_scales, second_sums, second_scales]: &[Staged; 4],
) -> [f32; GROUP] {
    let mut s = _mm512_setzero_ps();
    for half in 0..2 {
        let (first_sums, first_scales) = (transposed(first_sums, half), transposed(first_scales, half));
        let (second_sums, second_scales) = (transposed(second_sums, half), transposed(second_scales, half));
        for k in 0..4 {
            s = _mm512_fmadd_ps(first_sums[k], first_scales[k], s);
            s = _mm512_fmadd_ps(second_sums[k], second_scales[k], s);
        }
    }
    let mut lanes = [0.0; GROUP];
    avx512::store_f32(&mut lanes, s);
    lanes
}

/// Sixteen window sums: `s = s + term` over the eight blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2")]
fn sum_chain(terms: &Staged) -> [f32; GROUP] {
    let mut s = _mm512_setzero_ps();
    for half in 0..2 {
        for term in transposed(terms, half) {
            s = _mm512_add_ps(s, term);
        }
    }
    let mut lanes = [0.0; GROUP];
    avx512::store_f32(&mut lanes, s);
    lanes
}

/// The eight terms of blocks with minima: `fma(isum, d * dy, m * (sum(y) * dy))`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
pub(crate) fn terms(isum: __m256, d: __m256, m: __m256, y: &Q8Window) -> __m256 {
    let dy = load_f32(&y.scales);
    let sums = _mm256_cvtepi32_ps(load_i32(&y.sums));
    _mm256_fmadd_ps(isum, _mm256_mul_ps(d, dy), _mm256_mul_ps(m, _mm256_mul_ps(sums, dy)))
}

/// `d * dy` of eight blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
pub(crate) fn scaled(d: __m256, y: &Q8Window) -> __m256 {
    _mm256_mul_ps(d, load_f32(&y.scales))
}

/// The f16 at byte `AT` of each of eight blocks, as floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,f16c")]
pub(crate) fn f16s<const B: usize, const AT: usize>(blocks: &[[u8; B]; 8]) -> __m256 {
    let mut words = load_piece(blocks, 0);
    for i in 1..F16s::<B, AT>::PIECES {
        words = _mm512_permutex2var_epi16(words, load_512(&F16s::<B, AT>::ORDERS[i]), load_piece(blocks, i));
    }
    _mm256_cvtph_ps(_mm512_castsi512_si128(words))
}

/// Piece `i` of a window of eight blocks of `B` bytes. Whatever is gathered from a window comes from these
/// pieces, which the compiler loads once: loads of 64 bytes that cross cache lines are what a kernel has
/// to save.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_piece<const B: usize>(blocks: &[[u8; B]; 8], i: usize) -> __m512i {
    let bytes = blocks.as_flattened();
    load_512(bytes[piece_start::<B>(i)..].first_chunk().expect("the piece ends inside the window"))
}

/// Where piece `i` begins: 64 bytes from the one before it, or so that it ends with the window.
const fn piece_start<const B: usize>(i: usize) -> usize {
    if 64 * i + 64 > 8 * B { 8 * B - 64 } else { 64 * i }
}

/// How pieces of a window of blocks of `B` bytes give their f16s at byte `AT`; both are even.
struct F16s<const B: usize, const AT: usize>;

impl<const B: usize, const AT: usize> F16s<B, AT> {
    /// How many pieces it takes.
    const PIECES: usize = Self::piece(7) + 1;
    /// For each piece but the first, the words of the result so far (0..32) and of the piece (32..64)
    /// that become the next result: its word `k` is block `k`'s, for all blocks reached yet.
    const ORDERS: [[u8; 64]; 8] = Self::orders();

    /// The piece that has the f16 of block `k`.
    const fn piece(k: usize) -> usize {
        (k * B + AT) / 64
    }

    const fn orders() -> [[u8; 64]; 8] {
        let mut orders = [[0; 64]; 8];
        let mut i = 1;
        while i < Self::PIECES {
            let mut k = 0;
            while k < 8 {
                let byte = k * B + AT;
                orders[i][2 * k] = if Self::piece(k) == i {
                    32 + ((byte - piece_start::<B>(i)) / 2) as u8
                } else if i == 1 && Self::piece(k) == 0 {
                    (byte / 2) as u8
                } else {
                    k as u8
                };
                k += 1;
            }
            i += 1;
        }
        orders
    }
}
