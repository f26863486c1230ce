//! The types of 18 bytes a block (a scale and 32 nibbles), eight rows at once: a lane per row.
//!
//! Data flow, two blocks of eight rows at a time:
//!
//! ```text
//! 36 bytes of 8 rows --transposing shuffles--> 9 vectors of 4 bytes a row
//! 4 bytes --and, shift--> 8 codes a row --products with broadcast activations--> isum, a lane per row
//! d of 8 rows --convert, times dy--> s = fma(isum, d * dy, s), a lane per row
//! ```
//!
//! A sum stays in its lane from the first block of a row to the last, so that nothing is added across a vector.
//! A scale shares its four bytes with codes; activations of zero meet it.

use core::arch::x86_64::*;

use crate::activation::Q8Window;
use crate::array;
use crate::block::beforehand::Room;
use crate::isa::avx2::{load_128, lookup, prefetch_lines, store_f32};

/// Bytes of two blocks.
const PAIR_BYTES: usize = 36;

/// Four bytes each.
const PARTS: usize = PAIR_BYTES / 4;

/// Rows worked on together.
const ROWS: usize = 8;

/// The parts of two blocks of eight rows: a lane per row.
type Parts = [__m256i; PARTS];

/// Activations of two blocks as eight rows of them want them: each value for all rows.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    /// In the places of their low nibbles, with zeros in those of the scales.
    low: [i8; PAIR_BYTES],
    /// In those of their high nibbles.
    high: [i8; PAIR_BYTES],
    scales: [f32; 2],
    /// What the sums of products begin with.
    first: [i32; 2],
}

/// The pairs of a window.
pub(crate) type Window = [Pair; 4];

/// A window for codes with a bias.
#[inline(always)]
fn arrange(y: &Q8Window, bias: i32) -> Window {
    array::four(|p| {
        let mut pair = Pair {
            low: [0; PAIR_BYTES],
            high: [0; PAIR_BYTES],
            scales: [y.scales[2 * p], y.scales[2 * p + 1]],
            first: [-bias * y.sums[2 * p], -bias * y.sums[2 * p + 1]],
        };
        let codes = &y.codes.as_chunks::<16>().0.as_chunks::<4>().0[p];
        pair.low[2..18].copy_from_slice(&codes[0]);
        pair.high[2..18].copy_from_slice(&codes[1]);
        pair.low[20..].copy_from_slice(&codes[2]);
        pair.high[20..].copy_from_slice(&codes[3]);
        pair
    })
}

/// `out[r] = w[r] . x`, for codes with a bias; `isums(parts, pair)` gives the sums of products of the first and of the
/// second blocks.
///
/// Where rows are left, the last one stands for those that make up eight. A block that is left comes with one of zeros,
/// whose term is +0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    bias: i32,
    isums: impl Fn(Parts, &Pair) -> [__m256i; 2],
) {
    let row_bytes = weights.len() / out.len();
    let n_pairs = row_bytes / PAIR_BYTES;
    let mut room = Room::new();
    let arranged = room.fill(x, |y| arrange(y, bias));
    let add_terms = |s: __m256, blocks: [&[u8; PAIR_BYTES]; ROWS], pair: &Pair| {
        let parts = transposed(blocks);
        let (d, isums) = (scales_of(parts), isums(parts, pair));
        let scale = |i: usize| _mm256_mul_ps(d[i], _mm256_set1_ps(pair.scales[i]));
        let s = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isums[0]), scale(0), s);
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(isums[1]), scale(1), s)
    };
    // Eight places at once are nothing that the hardware's prefetchers follow: the rows to come are asked for in order.
    let mut later = weights;
    prefetch_lines(later, 0, (ROWS * row_bytes).min(later.len()));
    for (rows, out) in weights.chunks(ROWS * row_bytes).zip(out.chunks_mut(ROWS)) {
        later = &later[rows.len()..];
        let rows = array::eight(|r| rows[row_bytes * r.min(out.len() - 1)..][..row_bytes].as_chunks());
        let pairs = array::eight(|r| &rows[r].0[..n_pairs]);
        let mut sum = _mm256_setzero_ps();
        for (w, y) in x.iter().enumerate() {
            let mut spare = None;
            let window = arranged.get(w).unwrap_or_else(|| spare.insert(arrange(y, bias)));
            let mut s = _mm256_setzero_ps();
            for (p, pair) in (4 * w..n_pairs).zip(window) {
                prefetch_lines(later, ROWS * PAIR_BYTES * p, ROWS * PAIR_BYTES);
                s = add_terms(s, array::eight(|r| &pairs[r][p]), pair);
            }
            if n_pairs / 4 == w && !rows[0].1.is_empty() {
                let padded = array::eight(|r| array::build(|i| rows[r].1.get(i).copied().unwrap_or(0)));
                s = add_terms(s, padded.each_ref(), &window[n_pairs % 4]);
            }
            sum = _mm256_add_ps(sum, s);
        }
        let mut lanes = [0.0; ROWS];
        store_f32(&mut lanes, sum);
        out.copy_from_slice(&lanes[..out.len()]);
    }
}

/// The parts of two blocks of eight rows.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [&[u8; PAIR_BYTES]; ROWS]) -> Parts {
    let load = |at: usize, r: usize| load_128(rows[r][at..].first_chunk().expect("16 bytes of 36"));
    let four = |at: usize| array::four(|r| _mm256_set_m128i(load(at, r + 4), load(at, r)));
    let all = |at: usize| {
        let [a, b, c, d] = four(at);
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (ab_last, cd_last) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ab_last, cd_last),
            _mm256_unpackhi_epi64(ab_last, cd_last),
        ]
    };
    let ([p0, p1, p2, p3], [p4, p5, p6, p7]) = (all(0), all(16));
    let [a, b, c, d] = four(20);
    let p8 = _mm256_unpackhi_epi64(_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [p0, p1, p2, p3, p4, p5, p6, p7, p8]
}

/// The scales of the first and of the second blocks.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn scales_of(parts: Parts) -> [__m256; 2] {
    let first = _mm256_and_si256(parts[0], _mm256_set1_epi32(0xffff));
    let both = _mm256_packus_epi32(first, _mm256_srli_epi32::<16>(parts[4]));
    let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
    [_mm256_cvtph_ps(_mm256_castsi256_si128(both)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(both))]
}

/// The low and the high nibbles of part `t`, and their activations.
#[inline]
#[target_feature(enable = "avx2")]
fn products_of(parts: &Parts, pair: &Pair, t: usize) -> [(__m256i, __m256i); 2] {
    let low_four = _mm256_set1_epi8(15);
    let y = |places: &[i8; PAIR_BYTES]| {
        let four = array::map(&places.as_chunks::<4>().0[t], i8::cast_unsigned);
        _mm256_set1_epi32(i32::from_le_bytes(four))
    };
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(parts[t]), low_four);
    [(_mm256_and_si256(parts[t], low_four), y(&pair.low)), (high, y(&pair.high))]
}

/// The sums of products of unsigned nibbles with a bias.
///
/// A lane of 16 bits holds the sum of sixteen products: 16 * 15 * 127 = 30480 fits.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn unsigned(parts: Parts, pair: &Pair) -> [__m256i; 2] {
    let ones = _mm256_set1_epi16(1);
    let sum = |from: usize, to: usize, first: i32| {
        let mut dot = _mm256_setzero_si256();
        for t in from..to {
            for (codes, y) in products_of(&parts, pair, t) {
                dot = _mm256_add_epi16(dot, _mm256_maddubs_epi16(codes, y));
            }
        }
        _mm256_add_epi32(_mm256_madd_epi16(dot, ones), _mm256_set1_epi32(first))
    };
    [sum(0, 5, pair.first[0]), sum(5, PARTS, pair.first[1])]
}

/// The sums of products of what nibbles stand for in `table`. (Two products of 127 * 127 fill 16 bits, so these
/// widen before they are added.)
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn looked_up(table: &[u8; 16], parts: Parts, pair: &Pair) -> [__m256i; 2] {
    let ones = _mm256_set1_epi16(1);
    let sum = |from: usize, to: usize| {
        let mut dot = _mm256_setzero_si256();
        for t in from..to {
            for (codes, y) in products_of(&parts, pair, t) {
                let w = lookup(table, codes);
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(y, w));
                dot = _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, ones));
            }
        }
        dot
    };
    [sum(0, 5), sum(5, PARTS)]
}
