//! Every tier against the scalar one, bit for bit, and the scalar one against `f64`.

#![allow(clippy::needless_range_loop, reason = "the formulas are those of papers, by index")]

mod formulas;
mod recurrent;
mod row_decay;
mod same_bits;

use gguf_simd::ops::*;
use gguf_simd::*;

/// Lengths of real models, odd ones, and all from none to beyond two groups of lanes.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=40).chain([64, 80, 100, 128, 256, 1001])
}

/// Numbers in -4..4 that look random.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 21) as f32 - 4.0
    };
    (0..n).map(|_| next()).collect()
}

/// Noise with infinities, NaN, zeros of both signs, subnormals and extremes strewn in.
fn harsh(n: usize, seed: u64) -> Vec<f32> {
    let specials =
        [f32::INFINITY, -0.0, f32::NAN, f32::MIN, 1e-40, f32::NEG_INFINITY, f32::MAX, -1e-45, 0.0, 6e4, 7e4];
    let mut x = noise(n, seed);
    for (i, v) in x.iter_mut().enumerate().filter(|(i, _)| i % 3 == 1) {
        *v = specials[(i / 3) % specials.len()];
    }
    x
}

fn scalar() -> &'static Ops {
    Ops::for_isa(Isa::Scalar).expect("every CPU has the scalar tier")
}

/// Bits with all NaNs made one.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}
