//! The NEON kernels of the 32-weight types: what they share.
//!
//! Data flow of a row, four windows at a time:
//!
//! ```text
//! 2 x 16 codes of a block --dot with 2 x 16 activations--> 4 i32
//! 4 such vectors --pairwise adds--> isum of 4 blocks in 4 lanes, converted
//! d of 4 blocks --convert, times dy--> staged with the isum as [block][window]
//! 4 windows staged: 8 steps of s = fma(isum, d * dy, s), a lane per window; the 4 lanes are added
//! to the row's sum in order.
//! ```
//!
//! The dot is where the tiers differ, see [`Dot`]. Codes enter signed, with the bias of their type where
//! that is cheap: a lane holds at most 8 products of 128 * 127. A last window that is not full is filled up with zero blocks, whose
//! terms are +0.

use core::arch::aarch64::*;

use crate::activation::Q8Window;
use crate::array;
use crate::isa::neon::{Dot, load_codes, load_f32, load_i32, load_u8, store_f32, sums_of_4};

/// Windows worked on together, one per lane.
const GROUP: usize = 4;

/// Eight values of a window, one per block.
pub(crate) type Eight = [float32x4_t; 2];

/// One value per block of a group of windows: `[k / 4][window][k % 4]`.
type Staged = [[[f32; 4]; GROUP]; 2];
const UNSTAGED: Staged = [[[0.0; 4]; GROUP]; 2];

/// `out[r] = w[r] . x` for types without minima; `window` gives `(isum, d * dy)` of each 32 weights of a window,
/// which is `NB` blocks.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn gemv<D: Dot, const B: usize, const NB: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(D, &[[u8; B]; NB], &Q8Window) -> (Eight, Eight),
) {
    let dot = D::proof();
    let (mut sums, mut scales) = (UNSTAGED, UNSTAGED);
    for (row, out) in weights.chunks_exact(weights.len() / out.len()).zip(out) {
        let (windows, rest) = row.as_chunks::<B>().0.as_chunks::<NB>();
        let mut acc = 0.0;
        for (group, ys) in windows.chunks(GROUP).zip(x.chunks(GROUP)) {
            for (i, (blocks, y)) in group.iter().zip(ys).enumerate() {
                let (isum, scale) = window(dot, blocks, y);
                stage(&mut sums, i, isum);
                stage(&mut scales, i, scale);
            }
            acc = add_in_order(acc, fused_chain(&sums, &scales), group.len());
        }
        if !rest.is_empty() {
            let (isum, scale) = window(dot, &super::padded(rest), &x[windows.len()]);
            stage(&mut sums, 0, isum);
            stage(&mut scales, 0, scale);
            acc = add_in_order(acc, fused_chain(&sums, &scales), 1);
        }
        *out = acc;
    }
}

/// [`gemv`] for types whose halves of 32 weights have scales: `window` gives what [`gemv`] asks for of the first
/// halves, and of the second.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn gemv_of_halves<D: Dot, const B: usize, const NB: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(D, &[[u8; B]; NB], &Q8Window) -> [(Eight, Eight); 2],
) {
    let dot = D::proof();
    let mut staged = [[UNSTAGED; 2]; 2];
    for (row, out) in weights.chunks_exact(weights.len() / out.len()).zip(out) {
        let (windows, rest) = row.as_chunks::<B>().0.as_chunks::<NB>();
        let mut acc = 0.0;
        let add = |staged: &mut [[Staged; 2]; 2], i: usize, blocks: &[[u8; B]; NB], y: &Q8Window| {
            for (staged, (isum, scale)) in staged.iter_mut().zip(window(dot, blocks, y)) {
                stage(&mut staged[0], i, isum);
                stage(&mut staged[1], i, scale);
            }
        };
        for (group, ys) in windows.chunks(GROUP).zip(x.chunks(GROUP)) {
            for (i, (blocks, y)) in group.iter().zip(ys).enumerate() {
                add(&mut staged, i, blocks, y);
            }
            acc = add_in_order(acc, fused_chain_of_halves(&staged), group.len());
        }
        if !rest.is_empty() {
            add(&mut staged, 0, &super::padded(rest), &x[windows.len()]);
            acc = add_in_order(acc, fused_chain_of_halves(&staged), 1);
        }
        *out = acc;
    }
}

/// `out[r] = w[r] . x` for types with minima; `window` gives the terms of eight blocks.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn gemv_with_minima<D: Dot, const B: usize>(
    weights: &[u8],
    x: &[Q8Window],
    out: &mut [f32],
    window: impl Fn(D, &[[u8; B]; 8], &Q8Window) -> Eight,
) {
    let dot = D::proof();
    let mut terms = UNSTAGED;
    for (row, out) in weights.chunks_exact(weights.len() / out.len()).zip(out) {
        let (windows, rest) = row.as_chunks::<B>().0.as_chunks::<8>();
        let mut acc = 0.0;
        for (group, ys) in windows.chunks(GROUP).zip(x.chunks(GROUP)) {
            for (i, (blocks, y)) in group.iter().zip(ys).enumerate() {
                stage(&mut terms, i, window(dot, blocks, y));
            }
            acc = add_in_order(acc, sum_chain(&terms), group.len());
        }
        if !rest.is_empty() {
            stage(&mut terms, 0, window(dot, &super::padded(rest), &x[windows.len()]));
            acc = add_in_order(acc, sum_chain(&terms), 1);
        }
        *out = acc;
    }
}

/// Puts the eight values of window `i` of a group where [`transposed`] expects them.
#[inline]
#[target_feature(enable = "neon")]
fn stage(staged: &mut Staged, i: usize, values: Eight) {
    for half in 0..2 {
        store_f32(&mut staged[half][i], values[half]);
    }
}

/// Blocks `4 * half ..` of a staged group: vector `k` holds block `k` of windows 0..4.
#[inline]
#[target_feature(enable = "neon")]
fn transposed(staged: &Staged, half: usize) -> [float32x4_t; 4] {
    let row = |i: usize| load_f32(&staged[half][i]);
    let (a, b, c, d) = (row(0), row(1), row(2), row(3));
    let pairs = |a, b| (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
    let ((ab_even, ab_odd), (cd_even, cd_odd)) = (pairs(a, b), pairs(c, d));
    let wide = vreinterpretq_f64_f32;
    let low = |a, b| vreinterpretq_f32_f64(vtrn1q_f64(wide(a), wide(b)));
    let high = |a, b| vreinterpretq_f32_f64(vtrn2q_f64(wide(a), wide(b)));
    [low(ab_even, cd_even), low(ab_odd, cd_odd), high(ab_even, cd_even), high(ab_odd, cd_odd)]
}

/// Four window sums: `s = fma(isum, scale, s)` over the eight blocks.
#[inline]
#[target_feature(enable = "neon")]
fn fused_chain(sums: &Staged, scales: &Staged) -> float32x4_t {
    let mut s = vdupq_n_f32(0.0);
    for half in 0..2 {
        let (sums, scales) = (transposed(sums, half), transposed(scales, half));
        for k in 0..4 {
            s = vfmaq_f32(s, sums[k], scales[k]);
        }
    }
    s
}

/// [`fused_chain`] of the first halves and the second ones, in turn.
#[inline]
#[target_feature(enable = "neon")]
fn fused_chain_of_halves([first, second]: &[[Staged; 2]; 2]) -> float32x4_t {
    let mut s = vdupq_n_f32(0.0);
    for half in 0..2 {
        let (first_sums, first_scales) = (transposed(&first[0], half), transposed(&first[1], half));
        let (second_sums, second_scales) = (transposed(&second[0], half), transposed(&second[1], half));
        for k in 0..4 {
            s = vfmaq_f32(s, first_sums[k], first_scales[k]);
            s = vfmaq_f32(s, second_sums[k], second_scales[k]);
        }
    }
    s
}

/// Four window sums: `s = s + term` over the eight blocks.
#[inline]
#[target_feature(enable = "neon")]
fn sum_chain(terms: &Staged) -> float32x4_t {
    let mut s = vdupq_n_f32(0.0);
    for half in 0..2 {
        for term in transposed(terms, half) {
            s = vaddq_f32(s, term);
        }
    }
    s
}

/// Adds the first `n` window sums to `acc`, in order.
#[inline]
#[target_feature(enable = "neon")]
fn add_in_order(acc: f32, window_sums: float32x4_t, n: usize) -> f32 {
    let mut lanes = [0.0; GROUP];
    store_f32(&mut lanes, window_sums);
    lanes[..n].iter().fold(acc, |acc, s| acc + s)
}

/// `sum(q * y)` of eight blocks, from their codes (two vectors each) and the bias that is in them.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn block_sums<D: Dot>(
    dot: D,
    codes: impl Fn(usize) -> (int8x16_t, int8x16_t),
    bias: i32,
    y: &Q8Window,
) -> Eight {
    let ys = y.codes.as_chunks::<16>().0;
    let sum_of = |k: usize| {
        let (first, second) = codes(k);
        let low = dot.add(vdupq_n_s32(0), first, load_codes(&ys[2 * k]));
        dot.add(low, second, load_codes(&ys[2 * k + 1]))
    };
    array::two(|half| {
        let biased =
            sums_of_4([sum_of(4 * half), sum_of(4 * half + 1), sum_of(4 * half + 2), sum_of(4 * half + 3)]);
        let sums = load_i32(&y.sums.as_chunks().0[half]);
        vcvtq_f32_s32(vmlsq_n_s32(biased, sums, bias))
    })
}

/// `sum(q * y)` of the first half of each block, and of the second, from their signed codes.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn half_block_sums<D: Dot>(
    dot: D,
    codes: impl Fn(usize) -> (int8x16_t, int8x16_t),
    y: &Q8Window,
) -> [Eight; 2] {
    let ys = y.codes.as_chunks::<16>().0;
    let zero = vdupq_n_s32(0);
    let four = |k: usize| {
        let all = array::four(|i| codes(k + i));
        let first = array::four(|i| dot.add(zero, all[i].0, load_codes(&ys[2 * (k + i)])));
        let second = array::four(|i| dot.add(zero, all[i].1, load_codes(&ys[2 * (k + i) + 1])));
        [vcvtq_f32_s32(sums_of_4(first)), vcvtq_f32_s32(sums_of_4(second))]
    };
    let (low, high) = (four(0), four(4));
    [[low[0], high[0]], [low[1], high[1]]]
}

/// The eight terms of blocks with minima: `fma(isum, d * dy, m * (sum(y) * dy))`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn terms(isum: Eight, d: Eight, m: Eight, y: &Q8Window) -> Eight {
    array::two(|half| {
        let dy = load_f32(&y.scales.as_chunks().0[half]);
        let sums = vcvtq_f32_s32(load_i32(&y.sums.as_chunks().0[half]));
        vfmaq_f32(vmulq_f32(m[half], vmulq_f32(sums, dy)), isum[half], vmulq_f32(d[half], dy))
    })
}

/// `d * dy` of eight blocks.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn scaled(d: Eight, y: &Q8Window) -> Eight {
    array::two(|half| vmulq_f32(d[half], load_f32(&y.scales.as_chunks().0[half])))
}

/// The nibbles of a block, in the order of the weights.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn nibbles(qs: &[u8; 16]) -> (uint8x16_t, uint8x16_t) {
    let qs = load_u8(qs);
    (vandq_u8(qs, vdupq_n_u8(15)), vshrq_n_u8::<4>(qs))
}

/// Adds the fifth bits of a block to its nibbles.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn add_fifth_bits(nibbles: (uint8x16_t, uint8x16_t), qh: &[u8; 4]) -> (uint8x16_t, uint8x16_t) {
    let bit = vcombine_u8(vcreate_u8(0x8040_2010_0804_0201), vcreate_u8(0x8040_2010_0804_0201));
    let fifth = |first: u8, second: u8| {
        let bytes = vcombine_u8(vdup_n_u8(first), vdup_n_u8(second));
        vandq_u8(vtstq_u8(bytes, bit), vdupq_n_u8(16))
    };
    (vorrq_u8(nibbles.0, fifth(qh[0], qh[1])), vorrq_u8(nibbles.1, fifth(qh[2], qh[3])))
}

/// Codes below 128 as signed numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn signed(codes: (uint8x16_t, uint8x16_t)) -> (int8x16_t, int8x16_t) {
    (vreinterpretq_s8_u8(codes.0), vreinterpretq_s8_u8(codes.1))
}

/// The f16 at byte `AT` of each of eight blocks, as floats.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn f16s<const B: usize, const AT: usize>(blocks: &[[u8; B]; 8]) -> Eight {
    array::two(|half| {
        let word = |k: usize| u64::from(u16::from_le_bytes([blocks[k][AT], blocks[k][AT + 1]]));
        let k = 4 * half;
        let words = word(k) | word(k + 1) << 16 | word(k + 2) << 32 | word(k + 3) << 48;
        vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(words)))
    })
}
