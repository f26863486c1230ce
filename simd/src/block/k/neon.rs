//! The NEON kernels of the K types: what they share.
//!
//! Data flow of a row, four super-blocks at a time:
//!
//! ```text
//! 16 x 16 codes --dot with 16 x 16 activations--> a vector of 4 i32 per sub-block
//!    --multiplied by the scale, added--> 4 i32 of one super-block
//! 4 such vectors --pairwise adds--> isum of 4 super-blocks in 4 lanes --convert--+
//! 4 vectors of minima times activation sums --the same--> msum -------------------+
//! 4 times d, dmin --convert, times dy---------------------------------------------+--> 4 terms
//! ```
//!
//! and the terms are added to the row's sum in order. The dot is where the
//! tiers differ, see [`Dot`]. Every sum is of 32 bits; the bound of `isum`
//! stands in each type's scalar code.

use core::arch::aarch64::*;

use crate::activation::Q8KWindow;
use crate::isa::neon::{Dot, load_codes, load_f32, store_f32, sums_of_4};

/// Super-blocks worked on together, one per lane.
const GROUP: usize = 4;

/// `out[r] = w[r] . x` for types with minima, whose blocks of `B` bytes hold `d` and `dmin` at byte `AT`.
/// `sums` gives lanes that add up to `isum` and to `msum`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn gemv_with_minima<D: Dot, const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    sums: impl Fn(D, &[u8; B], &Q8KWindow) -> (int32x4_t, int32x4_t),
) {
    let dot = D::proof();
    let mut isums = [vdupq_n_s32(0); GROUP];
    let mut msums = [vdupq_n_s32(0); GROUP];
    let (mut ds, mut dmins, mut dys) = ([0; GROUP], [0; GROUP], [0.0; GROUP]);
    for (row, out) in weights.chunks_exact(B * x.len()).zip(out) {
        let mut acc = 0.0;
        for (blocks, ys) in row.as_chunks::<B>().0.chunks(GROUP).zip(x.chunks(GROUP)) {
            for (i, (block, y)) in blocks.iter().zip(ys).enumerate() {
                (isums[i], msums[i]) = sums(dot, block, y);
                ds[i] = u16::from_le_bytes([block[AT], block[AT + 1]]);
                dmins[i] = u16::from_le_bytes([block[AT + 2], block[AT + 3]]);
                dys[i] = y.scale;
            }
            let dy = load_f32(&dys);
            let d = vmulq_f32(halves_to_f32(ds), dy);
            let dmin = vmulq_f32(halves_to_f32(dmins), dy);
            let isum = vcvtq_f32_s32(sums_of_4(isums));
            let msum = vcvtq_f32_s32(sums_of_4(msums));
            let terms = vfmsq_f32(vmulq_f32(isum, d), msum, dmin);
            acc = add_in_order(acc, terms, blocks.len());
        }
        *out = acc;
    }
}

/// `out[r] = w[r] . x` for types without minima, whose blocks of `B` bytes hold `d` at byte `AT`.
/// `sum` gives lanes that add up to `isum`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn gemv<D: Dot, const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    sum: impl Fn(D, &[u8; B], &Q8KWindow) -> int32x4_t,
) {
    gemv_in_units(weights, x, out, 1.0, |block| [block[AT], block[AT + 1]], sum);
}

/// [`gemv`] for types whose blocks give `d` by a function and have it in `unit`s.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn gemv_in_units<D: Dot, const B: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    unit: f32,
    d: impl Fn(&[u8; B]) -> [u8; 2],
    sum: impl Fn(D, &[u8; B], &Q8KWindow) -> int32x4_t,
) {
    let dot = D::proof();
    let mut isums = [vdupq_n_s32(0); GROUP];
    let (mut ds, mut dys) = ([0; GROUP], [0.0; GROUP]);
    for (row, out) in weights.chunks_exact(B * x.len()).zip(out) {
        let mut acc = 0.0;
        for (blocks, ys) in row.as_chunks::<B>().0.chunks(GROUP).zip(x.chunks(GROUP)) {
            for (i, (block, y)) in blocks.iter().zip(ys).enumerate() {
                isums[i] = sum(dot, block, y);
                ds[i] = u16::from_le_bytes(d(block));
                dys[i] = y.scale * unit;
            }
            let d = vmulq_f32(halves_to_f32(ds), load_f32(&dys));
            let isum = vcvtq_f32_s32(sums_of_4(isums));
            let terms = vfmaq_f32(vdupq_n_f32(0.0), isum, d);
            acc = add_in_order(acc, terms, blocks.len());
        }
        *out = acc;
    }
}

/// The values of four halves.
#[inline]
#[target_feature(enable = "neon")]
fn halves_to_f32(halves: [u16; GROUP]) -> float32x4_t {
    let joined = halves.iter().rev().fold(0, |joined, &half| joined << 16 | u64::from(half));
    vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(joined)))
}

/// Adds the first `n` terms to `acc`, in order.
#[inline]
#[target_feature(enable = "neon")]
fn add_in_order(acc: f32, terms: float32x4_t, n: usize) -> f32 {
    let mut lanes = [0.0; GROUP];
    store_f32(&mut lanes, terms);
    lanes[..n].iter().fold(acc, |acc, term| acc + term)
}

/// Adds to the lanes of `acc` the products of 16 codes, none above 127, with activations `16 k ..`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn dot<D: Dot>(dot: D, acc: int32x4_t, codes: uint8x16_t, y: &Q8KWindow, k: usize) -> int32x4_t {
    dot.add(acc, vreinterpretq_s8_u8(codes), load_codes(&y.codes.as_chunks().0[k]))
}

/// Lanes that add up to `msum`: each minimum meets the pairwise sum of its sub-block.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn minima_sums(minima: [u8; 8], y: &Q8KWindow) -> int32x4_t {
    let (low, high) = load_sums(y);
    let sums = vpaddq_s16(low, high);
    let minima = vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(u64::from_le_bytes(minima))));
    let low = vmull_s16(vget_low_s16(minima), vget_low_s16(sums));
    vmlal_high_s16(low, minima, sums)
}

/// The sums of 16 activation codes, eight and eight.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_sums(y: &Q8KWindow) -> (int16x8_t, int16x8_t) {
    // SAFETY: the field holds sixteen 16-bit numbers, and each load reads eight of them.
    unsafe { (vld1q_s16(y.sums.as_ptr()), vld1q_s16(y.sums.as_ptr().add(8))) }
}

/// Lanes that add up to the scaled sum of a super-block of eight sub-blocks; `codes(c)` gives the
/// codes of weights `64 c ..`, in order.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn scaled_by_32<D: Dot>(
    proof: D,
    scales: [u8; 8],
    y: &Q8KWindow,
    codes: impl Fn(usize) -> [uint8x16_t; 4],
) -> int32x4_t {
    let mut sum = vdupq_n_s32(0);
    for c in 0..4 {
        let codes = codes(c);
        for j in 0..2 {
            let k = 4 * c + 2 * j;
            let half = dot(proof, vdupq_n_s32(0), codes[2 * j], y, k);
            let sum_of_32 = dot(proof, half, codes[2 * j + 1], y, k + 1);
            sum = vmlaq_n_s32(sum, sum_of_32, i32::from(scales[2 * c + j]));
        }
    }
    sum
}

/// Lanes that add up to the scaled sum of a super-block of sixteen sub-blocks; `codes(half, i)` gives
/// the codes of sub-blocks `8 half + i`, and 2, 4 and 6 further.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn scaled_by_16<D: Dot>(
    proof: D,
    scales: [i8; 16],
    y: &Q8KWindow,
    codes: impl Fn(usize, usize) -> [uint8x16_t; 4],
) -> int32x4_t {
    let mut sum = vdupq_n_s32(0);
    for half in 0..2 {
        for i in 0..2 {
            let codes = codes(half, i);
            for k in 0..4 {
                let j = 8 * half + 2 * k + i;
                let sum_of_16 = dot(proof, vdupq_n_s32(0), codes[k], y, j);
                sum = vmlaq_n_s32(sum, sum_of_16, i32::from(scales[j]));
            }
        }
    }
    sum
}

/// Bits 0 and 1 of each byte, 2 and 3, 4 and 5, and 6 and 7.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn pairs_of_bits(bytes: uint8x16_t) -> [uint8x16_t; 4] {
    let low_two = vdupq_n_u8(3);
    [
        vandq_u8(bytes, low_two),
        vandq_u8(vshrq_n_u8::<2>(bytes), low_two),
        vandq_u8(vshrq_n_u8::<4>(bytes), low_two),
        vshrq_n_u8::<6>(bytes),
    ]
}

/// Lanes that add up to the sum of scale (or minimum) times activation sum of sixteen sub-blocks.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn scaled_sums(scales: int8x16_t, y: &Q8KWindow) -> int32x4_t {
    let (low, high) = (vmovl_s8(vget_low_s8(scales)), vmovl_high_s8(scales));
    let (low_sums, high_sums) = load_sums(y);
    let sum = vmull_s16(vget_low_s16(low), vget_low_s16(low_sums));
    let sum = vmlal_high_s16(sum, low, low_sums);
    let sum = vmlal_s16(sum, vget_low_s16(high), vget_low_s16(high_sums));
    vmlal_high_s16(sum, high, high_sums)
}
