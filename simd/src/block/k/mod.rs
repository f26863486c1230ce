//! What the K types share: packed 6-bit scales, the search of the encoders, and helpers of the
//! kernels of one CPU family.
//!
//! A K type has super-blocks of 256 weights, cut into sub-blocks of 32 or 16 that have integer scales
//! of their own. One super-block is one window of the canonical float order (see [`crate::block`]):
//! a super-block's products are summed exactly as integers and become a single float term.

pub(crate) mod affine;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scales;
pub(crate) mod symmetric;

use crate::half_float::{f16_to_f32, f32_to_f16};
use crate::wide::Wide;

/// Weights in a super-block.
pub(crate) const SUPER_LEN: usize = 256;

/// The value of the half `d` or `dmin` of a block.
#[inline(always)]
pub(crate) fn value_of(half: [u8; 2]) -> f32 {
    f16_to_f32(u16::from_le_bytes(half))
}

/// The largest finite half.
const LARGEST_HALF: f32 = 65504.0;

/// The smallest half above zero.
const SMALLEST_HALF: f32 = f32::from_bits((127 - 24) << 23);

/// The half nearest to `value`, as bytes and as the value it stands for. Magnitudes above the
/// largest half saturate to it, so that an encoder never writes an infinity. Those below the smallest
/// are raised to it: smaller scale codes then still reach the weights, where zero would lose them.
#[inline(always)]
pub(crate) fn round_to_half(value: f32) -> ([u8; 2], f32) {
    let magnitude = value.abs().clamp(SMALLEST_HALF, LARGEST_HALF).copysign(value);
    let half = f32_to_f16(if value == 0.0 { 0.0 } else { magnitude });
    (half.to_le_bytes(), f16_to_f32(half))
}

/// The halves nearest to the lanes, as [`round_to_half`] has them.
#[inline(always)]
pub(crate) fn round_halves<V: Wide>(lanes: V) -> V {
    let isa = lanes.proof();
    let zero = V::splat(isa, 0.0);
    let magnitude = lanes.abs();
    let bounded = magnitude.clamp(V::splat(isa, SMALLEST_HALF), V::splat(isa, LARGEST_HALF));
    let half = V::from_f16(isa, &zero.less_then_else(magnitude, bounded, zero).to_f16());
    lanes.less_then_else(zero, zero - half, half)
}

/// A value an encoder can work with: what is not finite becomes zero, and huge magnitudes, far above
/// what a half scale can reach, a bound.
#[inline(always)]
pub(crate) fn usable(value: f32) -> f32 {
    const BOUND: f32 = 1e30;
    if value.abs() < f32::INFINITY { value.clamp(-BOUND, BOUND) } else { 0.0 }
}

/// An importance an encoder can work with: what is not finite and positive counts as zero.
#[inline(always)]
fn usable_weight(value: f32) -> f32 {
    if value > 0.0 && value < f32::INFINITY { value } else { 0.0 }
}

/// The power of two by which an encoder divides a block: the largest magnitude becomes 1 to 2.
///
/// Where that magnitude is below 2^-60, far below what a half scale can reach, the values stay tiny,
/// so that nothing is ever divided by a subnormal.
#[inline(always)]
pub(crate) fn normal_unit<const N: usize>(row: &[f32; N]) -> f32 {
    let mut largest = f32::from_bits((127 - 60) << 23);
    for &value in row {
        let magnitude = usable(value).abs();
        largest = if magnitude > largest { magnitude } else { largest };
    }
    f32::from_bits(largest.to_bits() & 0x7f80_0000)
}

/// The weights of a block's squared errors: the importance scaled to an average of one, and a
/// little more, so that no weight is zero. All one where no importance is given or none is positive.
#[inline(always)]
pub(crate) fn error_weights<const N: usize>(importance: Option<&[f32; N]>) -> [f32; N] {
    const FLOOR: f32 = 1e-6;
    let Some(importance) = importance else { return [1.0; N] };
    let mut weights = importance.map(usable_weight);
    let mut lanes = [0.0; 16];
    for chunk in weights.as_chunks::<16>().0 {
        for (lane, weight) in lanes.iter_mut().zip(chunk) {
            *lane += weight;
        }
    }
    let scale = N as f32 / super::float::sum(lanes);
    if !scale.is_normal() {
        return [1.0; N];
    }
    for weight in &mut weights {
        *weight = *weight * scale + FLOOR;
    }
    weights
}
