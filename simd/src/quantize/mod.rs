//! Quantises rows of activations into the windows the dot kernels read.
//!
//! Maxima and sums are taken over integers (the bits of a magnitude order as the magnitudes do), so
//! their order is free, and the float operations are one multiplication and one rounding per value:
//! the same bits everywhere. This file is the definition; the versions of the other tiers equal it.
//!
//! A group (32 values, or 256 for Q8_K) that holds a NaN or an infinity gets the scale NaN and zero
//! codes, so that whatever is computed from it is NaN as well instead of quietly wrong. A group whose
//! largest magnitude is below 2^-120 is quantised as zeros: its inverse scale would overflow.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

use crate::activation::{Q8KWindow, Q8Window, WINDOW_LEN};

/// Magnitudes below this are zeros.
const SMALLEST: f32 = f32::from_bits((127 - 120) << 23);

/// What the codes of a group are made with.
struct Scaling {
    scale: f32,
    inverse: f32,
}

/// Quantises `x` (a multiple of 32 values) to 8 bits with one scale per 32; pads the last window.
///
/// `scale = amax / 127`, `code = round(x * (127 / amax))`, ties to even.
pub(crate) fn q8_0(x: &[f32], out: &mut [Q8Window]) {
    for (x, out) in x.chunks(WINDOW_LEN).zip(out) {
        let (groups, _) = x.as_chunks::<32>();
        if groups.len() < 8 {
            *out = Q8Window::ZERO;
        }
        for (k, group) in groups.iter().enumerate() {
            let (magnitude, _) = extremes(group);
            let Scaling { scale, inverse } = scaling(magnitude, magnitude);
            let codes = codes(group, inverse);
            out.codes.as_chunks_mut().0[k] = codes;
            out.scales[k] = scale;
            out.sums[k] = codes.iter().map(|&q| i32::from(q)).sum();
        }
    }
}

/// Quantises `x` (a multiple of 256 values) to 8 bits with one scale per 256.
///
/// `scale = -extreme / 127`, `code = round(x * (-127 / extreme))`, ties to even, where `extreme` is
/// the value of largest magnitude (the positive one if both signs reach it).
pub(crate) fn q8_k(x: &[f32], out: &mut [Q8KWindow]) {
    for (x, out) in x.as_chunks::<WINDOW_LEN>().0.iter().zip(out) {
        let (magnitude, top) = extremes(x);
        let extreme = if top == magnitude { magnitude } else { -magnitude };
        let Scaling { scale, inverse } = scaling(magnitude, -extreme);
        out.codes = codes(x, inverse);
        out.scale = scale;
        for (sum, codes) in out.sums.iter_mut().zip(out.codes.as_chunks::<16>().0) {
            *sum = codes.iter().map(|&q| i16::from(q)).sum();
        }
    }
}

/// The largest magnitude, and the largest positive value (or some negative one if none is).
fn extremes<const N: usize>(x: &[f32; N]) -> (f32, f32) {
    let (mut magnitude, mut top) = (0, i32::MIN);
    for x in x {
        let bits = x.to_bits() as i32;
        magnitude = magnitude.max(bits & i32::MAX);
        top = top.max(bits);
    }
    (f32::from_bits(magnitude as u32), f32::from_bits(top as u32))
}

/// The scale that maps `extreme`, of the given magnitude, to 127, and its inverse.
fn scaling(magnitude: f32, extreme: f32) -> Scaling {
    if magnitude < SMALLEST {
        Scaling { scale: 0.0, inverse: 0.0 }
    } else if magnitude < f32::INFINITY {
        Scaling { scale: extreme / 127.0, inverse: 127.0 / extreme }
    } else {
        Scaling { scale: f32::NAN, inverse: 0.0 }
    }
}

/// `round(x * inverse)`, which `inverse` keeps within -127..=127; zero where the product is NaN.
fn codes<const N: usize>(x: &[f32; N], inverse: f32) -> [i8; N] {
    // Adding it leaves the nearest integer, ties to even, in the last bits.
    const SHIFT: f32 = 12_582_912.0;
    let mut codes = [0; N];
    for (code, x) in codes.iter_mut().zip(x) {
        let value = x * inverse;
        let value = if value.abs() < 128.0 { value } else { 0.0 };
        *code = ((value + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits())) as i8;
    }
    codes
}
