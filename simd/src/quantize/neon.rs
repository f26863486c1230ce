//! The activation quantisers for NEON.
//!
//! Magnitudes are compared as integers; the conversion to integers rounds to nearest even and turns
//! a NaN into zero by itself.

use core::arch::aarch64::*;

use super::{Scaling, scaling};
use crate::activation::{Q8KWindow, Q8Window, WINDOW_LEN};
use crate::isa::neon::{load_codes, load_f32, store_codes};

/// See [`super::q8_0`].
#[target_feature(enable = "neon")]
pub(crate) fn q8_0(x: &[f32], out: &mut [Q8Window]) {
    for (x, out) in x.chunks(WINDOW_LEN).zip(out) {
        let groups = x.as_chunks::<32>().0;
        if groups.len() < 8 {
            *out = Q8Window::ZERO;
        }
        for (k, group) in groups.iter().enumerate() {
            let (magnitude, _) = extremes(group);
            let Scaling { scale, inverse } = scaling(magnitude, magnitude);
            out.scales[k] = scale;
            let codes = &mut out.codes.as_chunks_mut::<32>().0[k];
            encode(group, inverse, codes);
            out.sums[k] = codes.as_chunks().0.iter().map(|codes| i32::from(sum(codes))).sum();
        }
    }
}

/// See [`super::q8_k`].
#[target_feature(enable = "neon")]
pub(crate) fn q8_k(x: &[f32], out: &mut [Q8KWindow]) {
    for (x, out) in x.as_chunks::<WINDOW_LEN>().0.iter().zip(out) {
        let (magnitude, top) = extremes(x);
        let extreme = if top == magnitude { magnitude } else { -magnitude };
        let Scaling { scale, inverse } = scaling(magnitude, -extreme);
        out.scale = scale;
        encode(x, inverse, &mut out.codes);
        for (sums, codes) in out.sums.iter_mut().zip(out.codes.as_chunks().0) {
            *sums = sum(codes);
        }
    }
}

/// The largest magnitude, and the largest positive value (or some negative one if none is).
#[inline]
#[target_feature(enable = "neon")]
fn extremes(x: &[f32]) -> (f32, f32) {
    let (mut magnitudes, mut tops) = (vdupq_n_s32(0), vdupq_n_s32(i32::MIN));
    for x in x.as_chunks().0 {
        let bits = vreinterpretq_s32_f32(load_f32(x));
        magnitudes = vmaxq_s32(magnitudes, vandq_s32(bits, vdupq_n_s32(i32::MAX)));
        tops = vmaxq_s32(tops, bits);
    }
    (f32::from_bits(vmaxvq_s32(magnitudes) as u32), f32::from_bits(vmaxvq_s32(tops) as u32))
}

/// `round(x * inverse)`; zero where the product is NaN.
#[inline]
#[target_feature(enable = "neon")]
fn encode(x: &[f32], inverse: f32, codes: &mut [i8]) {
    for (x, codes) in x.as_chunks::<16>().0.iter().zip(codes.as_chunks_mut().0) {
        let rounded = |i: usize| vcvtnq_s32_f32(vmulq_n_f32(load_f32(&x.as_chunks().0[i]), inverse));
        let words = |i: usize| vcombine_s16(vmovn_s32(rounded(i)), vmovn_s32(rounded(i + 1)));
        store_codes(codes, vcombine_s8(vmovn_s16(words(0)), vmovn_s16(words(2))));
    }
}

/// The sum of 16 codes.
#[inline]
#[target_feature(enable = "neon")]
fn sum(codes: &[i8; 16]) -> i16 {
    vaddlvq_s8(load_codes(codes))
}
