//! From the integer sums of the NEON tiles to their float terms.

use core::arch::aarch64::*;

use crate::gemm::{Column, ROWS, Sums, block32, k};

/// Integers of sixteen rows.
pub(super) type Dots = [int32x4_t; 4];

/// Adds the term of a super-block to the sums of `NC` columns, from its scaled integer sums.
///
/// A scaled sum stays below 2^27, that of the minima below 2^21: see the types' definitions.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add_super_block<const NC: usize, const MINIMA: usize>(
    isum: &[Dots; NC],
    panel: &k::Panel,
    columns: &[Column; NC],
    sums: &mut [Sums; NC],
) {
    let mut msum = [[vdupq_n_s32(0); 4]; NC];
    for j in 0..MINIMA / 2 {
        for q in 0..4 {
            let pair = load(&panel.minima[j], q);
            let low = vshrq_n_s32::<16>(vshlq_n_s32::<16>(pair));
            let high = vshrq_n_s32::<16>(pair);
            for c in 0..NC {
                let sum = columns[c].sums[j];
                let low_products = vmlaq_n_s32(msum[c][q], low, i32::from(sum as i16));
                msum[c][q] = vmlaq_n_s32(low_products, high, sum >> 16);
            }
        }
    }
    for c in 0..NC {
        let dy = columns[c].scales[0];
        for q in 0..4 {
            let scale = vmulq_n_f32(load_f32(&panel.d, q), dy);
            let mut term = vmulq_f32(vcvtq_f32_s32(isum[c][q]), scale);
            if MINIMA > 0 {
                let min_scale = vmulq_n_f32(load_f32(&panel.dmin, q), dy);
                term = vfmsq_f32(term, vcvtq_f32_s32(msum[c][q]), min_scale);
            }
            let sum = vaddq_f32(load_f32(&sums[c], q), term);
            store_f32(&mut sums[c], q, sum);
        }
    }
}

/// Adds the term of block `j`, or half `j`, to the window sum `s` of rows `4 q ..` and a column.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add_block<const WORDS: usize, const MINIMA: bool>(
    s: float32x4_t,
    dot: int32x4_t,
    panel: &block32::Panel,
    column: &Column,
    (j, q): (usize, usize),
) -> float32x4_t {
    let (isum, dy) = (vcvtq_f32_s32(dot), column.scales[j * WORDS / 8]);
    let scale = vmulq_n_f32(load_f32(panel.scale::<WORDS>(j), q), dy);
    if MINIMA {
        let sum = vreinterpretq_f32_s32(vdupq_n_s32(column.sums[j]));
        vaddq_f32(s, vfmaq_f32(vmulq_f32(load_f32(&panel.m[j], q), sum), isum, scale))
    } else {
        vfmaq_f32(s, isum, scale)
    }
}

/// Vector `q` of sixteen integers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(words: &[i32; ROWS], q: usize) -> int32x4_t {
    crate::isa::neon::load_i32(&words.as_chunks().0[q])
}

/// Vector `q` of sixteen floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_f32(values: &[f32; ROWS], q: usize) -> float32x4_t {
    crate::isa::neon::load_f32(&values.as_chunks().0[q])
}

/// Stores vector `q` of sixteen floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_f32(out: &mut [f32; ROWS], q: usize, values: float32x4_t) {
    crate::isa::neon::store_f32(&mut out.as_chunks_mut().0[q], values);
}
