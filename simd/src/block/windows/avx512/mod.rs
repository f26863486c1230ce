//! The AVX-512 kernels of the 32-weight types: what they share.
//!
//! Data flow, sixteen windows at a time:
//!
//! ```text
//! 8 blocks of a window --codes--> 4 x 64 u8 --vpdpbusd with 4 x 64 activations--> i32 lanes
//!    --transposing adds--> isum of 8 blocks in 8 lanes --convert--+
//! d of 8 blocks --permute--> 8 f16 --convert, times dy------------+--> staged as [block][window]
//! 16 windows staged: 8 steps of s = fma(isum, d * dy, s), a lane per window; the 16 lanes are
//! added to the row's sum in order.
//! ```
//!
//! A lane of `vpdpbusd` holds four products of at most 255 * 128, a block's sum 32 of them: no
//! overflow. Codes enter unsigned; what a bias adds, `bias * sum(y)`, is subtracted from the sum.
//! A last window that is not full is filled up with zero blocks, whose terms are +0.

pub(crate) mod nibbles;

use core::arch::x86_64::*;

use crate::activation::Q8Window;
use crate::block::row_sums::RowSums;
use crate::isa::avx2::{load_f32, load_i32, prefetch_beyond, store_f32x4};
use crate::isa::avx512::{self, load_512};

/// Windows worked on together, one per lane.
const GROUP: usize = 16;

/// One value per block of a group of windows: `[k / 4][window % 4][window / 4][k % 4]`, so that
/// four vectors of a half are sixteen 4x4 squares, which transpose inside their 128 bits.
type Staged = [[[[f32; 4]; 4]; 4]; 2];
const UNSTAGED: Staged = [[[[0.0; 4]; 4]; 4]; 2];

/// `out[r] = w[r] . x` for types without minima; `window(blocks, y, w)` gives `(isum, d * dy)` of the
/// eight blocks of window `w`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv<const B: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(&[[u8; B]; 8], &Q8Window, usize) -> (__m256, __m256),
) {
    let row_bytes = weights.len() / out.len();
    let (mut sums, mut scales) = (UNSTAGED, UNSTAGED);
    let mut lane = 0;
    let mut rows = RowSums::new(out, x.len());
    for row in weights.chunks_exact(row_bytes) {
        let (windows, rest) = row.as_chunks::<B>().0.as_chunks::<8>();
        for (w, y) in x.iter().enumerate() {
            let padded;
            let blocks = match windows.get(w) {
                Some(blocks) => blocks,
                None => {
                    padded = super::padded(rest);
                    &padded
                }
            };
            prefetch_beyond(blocks.as_flattened());
            let (isum, scale) = window(blocks, y, w);
            stage(&mut sums, lane, isum);
            stage(&mut scales, lane, scale);
            lane += 1;
            if lane == GROUP {
                rows.add(&fused_chain(&sums, &scales));
                lane = 0;
            }
        }
    }
    rows.add(&fused_chain(&sums, &scales)[..lane]);
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
    let row_bytes = weights.len() / out.len();
    let mut terms = UNSTAGED;
    let mut lane = 0;
    let mut rows = RowSums::new(out, x.len());
    for row in weights.chunks_exact(row_bytes) {
        let (windows, rest) = row.as_chunks::<B>().0.as_chunks::<8>();
        for (w, y) in x.iter().enumerate() {
            let padded;
            let blocks = match windows.get(w) {
                Some(blocks) => blocks,
                None => {
                    padded = super::padded(rest);
                    &padded
                }
            };
            prefetch_beyond(blocks.as_flattened());
            stage(&mut terms, lane, window(blocks, y, w));
            lane += 1;
            if lane == GROUP {
                rows.add(&sum_chain(&terms));
                lane = 0;
            }
        }
    }
    rows.add(&sum_chain(&terms)[..lane]);
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
fn fused_chain(sums: &Staged, scales: &Staged) -> [f32; GROUP] {
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

/// The eight terms of blocks with minima: `fma(sum(y), m * dy, isum * (d * dy))`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
pub(crate) fn terms(isum: __m256, d: __m256, m: __m256, y: &Q8Window) -> __m256 {
    let dy = load_f32(&y.scales);
    let sums = _mm256_cvtepi32_ps(load_i32(&y.sums));
    _mm256_fmadd_ps(sums, _mm256_mul_ps(m, dy), _mm256_mul_ps(isum, _mm256_mul_ps(d, dy)))
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
    let bytes = blocks.as_flattened();
    let load = |i: usize| {
        load_512(bytes[Scatter::<B, AT>::start(i)..].first_chunk().expect("the load ends inside the window"))
    };
    let mut words = load(0);
    for i in 1..Scatter::<B, AT>::LOADS {
        let order = load_512(&Scatter::<B, AT>::ORDERS[i]);
        words = _mm512_permutex2var_epi16(words, order, load(i));
    }
    _mm256_cvtph_ps(_mm512_castsi512_si128(words))
}

/// How loads of 64 bytes find the f16 at byte `AT` of eight blocks of `B` bytes.
struct Scatter<const B: usize, const AT: usize>;

impl<const B: usize, const AT: usize> Scatter<B, AT> {
    /// Blocks whose f16 one load reaches.
    const REACH: usize = (64 - 2 - AT) / B + 1;
    const LOADS: usize = 8usize.div_ceil(Self::REACH);
    /// For each load but the first, the words of the result so far (0..32) and of the load (32..64)
    /// that become the next result: its word `k` is block `k`'s, for all blocks reached yet.
    const ORDERS: [[u8; 64]; 8] = Self::orders();

    /// Where load `i` begins: at a block, or so that it ends with the window.
    const fn start(i: usize) -> usize {
        let block = i * Self::REACH * B;
        if block + 64 > 8 * B { 8 * B - 64 } else { block }
    }

    const fn orders() -> [[u8; 64]; 8] {
        let mut orders = [[0; 64]; 8];
        let mut i = 1;
        while i < Self::LOADS {
            let mut k = 0;
            while k < 8 {
                let word = (k * B + AT) / 2;
                orders[i][2 * k] = if k / Self::REACH == i {
                    32 + (word - Self::start(i) / 2) as u8
                } else if i == 1 && k < Self::REACH {
                    word as u8
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
