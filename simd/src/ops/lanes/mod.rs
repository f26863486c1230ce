//! Sixteen lanes of `f32`, the unit in which every operation here is written.
//!
//! A body works on `[f32; 16]` arrays with plain loops over indices; the compiler turns them into
//! whatever vectors a tier has. (Not with `map`, `zip` or `from_fn`: the library's own functions lack
//! the tier's target features, and the compiler then refuses to inline what passes arrays between
//! them.) Which element goes to which lane, and the order of every rounding, is thus fixed in
//! the source and the same everywhere. A fused multiply-add happens where `mul_add` is written and
//! nowhere else.

use crate::half_float;
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86;

/// Lanes in a group.
pub(crate) const LANES: usize = 16;

/// Sixteen floats.
pub(crate) type Lanes = [f32; LANES];

/// Sixteen half-precision floats, as bits.
pub(crate) type HalfLanes = [u16; LANES];

/// What a tier does with instructions of its own; implemented for the tokens of [`crate::isa`], which prove
/// that the CPU has them. Both conversions are defined to the bit ([`crate::half_float`]), so a tier changes
/// only their speed.
pub(crate) trait LaneOps: Copy {
    /// Widens half precision, exactly.
    fn widen(self, half: &HalfLanes) -> Lanes;

    /// Narrows to half precision, to nearest even; overflow becomes infinity.
    fn narrow(self, x: &Lanes) -> HalfLanes;

    /// How many groups of lanes it has the registers to sum in side by side: 4 or 16.
    const SIDE_BY_SIDE: usize;

    /// [`sum`] of each of four groups.
    fn sums_of_4(self, x: &[Lanes; 4]) -> [f32; 4];

    /// [`sum`] of each of sixteen groups.
    #[inline(always)]
    fn sums_of_16(self, x: &[Lanes; 16]) -> Lanes {
        let mut out = [0.0; LANES];
        for i in 0..4 {
            let four = [x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]];
            out[4 * i..4 * i + 4].copy_from_slice(&self.sums_of_4(&four));
        }
        out
    }
}

/// Integer arithmetic, for any CPU.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl LaneOps for Portable {
    #[inline(always)]
    fn widen(self, half: &HalfLanes) -> Lanes {
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            out[l] = half_float::f16_to_f32(half[l]);
        }
        out
    }

    #[inline(always)]
    fn narrow(self, x: &Lanes) -> HalfLanes {
        let mut out = [0; LANES];
        for l in 0..LANES {
            out[l] = half_float::f32_to_f16(x[l]);
        }
        out
    }

    const SIDE_BY_SIDE: usize = 4;

    #[inline(always)]
    fn sums_of_4(self, x: &[Lanes; 4]) -> [f32; 4] {
        [sum(&x[0]), sum(&x[1]), sum(&x[2]), sum(&x[3])]
    }
}

#[cfg(target_arch = "x86_64")]
impl LaneOps for Avx2 {
    #[inline(always)]
    fn widen(self, half: &HalfLanes) -> Lanes {
        use core::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
        let mut out = [0.0; LANES];
        for i in [0, 8] {
            // SAFETY: `self` proves AVX2 and F16C; the load and the store, which need no alignment, are of
            // elements `i..i + 8` of 16.
            unsafe {
                let x = _mm_loadu_si128(half.as_ptr().add(i).cast());
                _mm256_storeu_ps(out.as_mut_ptr().add(i), _mm256_cvtph_ps(x));
            }
        }
        out
    }

    #[inline(always)]
    fn narrow(self, x: &Lanes) -> HalfLanes {
        use core::arch::x86_64::{
            _MM_FROUND_TO_NEAREST_INT, _mm_storeu_si128, _mm256_cvtps_ph, _mm256_loadu_ps,
        };
        let mut out = [0; LANES];
        for i in [0, 8] {
            // SAFETY: `self` proves AVX2 and F16C; the load and the store, which need no alignment, are of
            // elements `i..i + 8` of 16.
            unsafe {
                let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(x.as_ptr().add(i)));
                _mm_storeu_si128(out.as_mut_ptr().add(i).cast(), half);
            }
        }
        out
    }

    const SIDE_BY_SIDE: usize = 4;

    #[inline(always)]
    fn sums_of_4(self, x: &[Lanes; 4]) -> [f32; 4] {
        // SAFETY: `self` proves AVX2.
        unsafe { x86::sums_of_4(x) }
    }
}

#[cfg(target_arch = "x86_64")]
impl LaneOps for Avx512 {
    #[inline(always)]
    fn widen(self, half: &HalfLanes) -> Lanes {
        use core::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtph_ps, _mm512_storeu_ps};
        let mut out = [0.0; LANES];
        // SAFETY: `self` proves AVX-512 F; the load and the store, which need no alignment, are of all 16
        // elements.
        unsafe {
            let x = _mm256_loadu_si256(half.as_ptr().cast());
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtph_ps(x));
        }
        out
    }

    #[inline(always)]
    fn narrow(self, x: &Lanes) -> HalfLanes {
        use core::arch::x86_64::{
            _MM_FROUND_TO_NEAREST_INT, _mm256_storeu_si256, _mm512_cvtps_ph, _mm512_loadu_ps,
        };
        let mut out = [0; LANES];
        // SAFETY: `self` proves AVX-512 F; the load and the store, which need no alignment, are of all 16
        // elements.
        unsafe {
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_loadu_ps(x.as_ptr()));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), half);
        }
        out
    }

    const SIDE_BY_SIDE: usize = 16;

    #[inline(always)]
    fn sums_of_4(self, x: &[Lanes; 4]) -> [f32; 4] {
        // SAFETY: `self` proves AVX2 as well.
        unsafe { x86::sums_of_4(x) }
    }

    #[inline(always)]
    fn sums_of_16(self, x: &[Lanes; 16]) -> Lanes {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { x86::sums_of_16(x) }
    }
}

#[cfg(target_arch = "aarch64")]
impl LaneOps for Neon {
    #[inline(always)]
    fn widen(self, half: &HalfLanes) -> Lanes {
        use core::arch::aarch64::{vcvt_f32_f16, vld1_u16, vreinterpret_f16_u16, vst1q_f32};
        let mut out = [0.0; LANES];
        for i in [0, 4, 8, 12] {
            // SAFETY: `self` proves NEON; the load and the store are of elements `i..i + 4` of 16.
            unsafe {
                let x = vreinterpret_f16_u16(vld1_u16(half.as_ptr().add(i)));
                vst1q_f32(out.as_mut_ptr().add(i), vcvt_f32_f16(x));
            }
        }
        out
    }

    #[inline(always)]
    fn narrow(self, x: &Lanes) -> HalfLanes {
        use core::arch::aarch64::{vcvt_f16_f32, vld1q_f32, vreinterpret_u16_f16, vst1_u16};
        let mut out = [0; LANES];
        for i in [0, 4, 8, 12] {
            // SAFETY: `self` proves NEON; the load and the store are of elements `i..i + 4` of 16.
            unsafe {
                let x = vcvt_f16_f32(vld1q_f32(x.as_ptr().add(i)));
                vst1_u16(out.as_mut_ptr().add(i), vreinterpret_u16_f16(x));
            }
        }
        out
    }

    const SIDE_BY_SIDE: usize = 4;

    #[inline(always)]
    fn sums_of_4(self, x: &[Lanes; 4]) -> [f32; 4] {
        use core::arch::aarch64::{
            float32x4_t, vaddq_f32, vcombine_f32, vget_high_f32, vget_low_f32, vld1q_f32, vpaddq_f32,
            vst1q_f32,
        };
        let mut out = [0.0; 4];
        // SAFETY: `self` proves NEON; each load is of 4 of 16 elements, the store of 4 of 4.
        unsafe {
            let quarter = |k: usize, q: usize| vld1q_f32(x[k].as_ptr().add(4 * q));
            let folded = |k: usize| {
                vaddq_f32(vaddq_f32(quarter(k, 0), quarter(k, 2)), vaddq_f32(quarter(k, 1), quarter(k, 3)))
            };
            let pair = |a: float32x4_t, b: float32x4_t| {
                let low = vcombine_f32(vget_low_f32(a), vget_low_f32(b));
                vaddq_f32(low, vcombine_f32(vget_high_f32(a), vget_high_f32(b)))
            };
            let sums = vpaddq_f32(pair(folded(0), folded(1)), pair(folded(2), folded(3)));
            vst1q_f32(out.as_mut_ptr(), sums);
        }
        out
    }
}

/// Up to sixteen elements of a row's end, the missing ones replaced by `fill`.
#[inline(always)]
pub(crate) fn padded<T: Copy>(tail: &[T], fill: T) -> [T; LANES] {
    let mut lanes = [fill; LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    lanes
}

/// Up to sixteen elements in the middle of other work, most often sixteen; the missing ones are zero. ([`padded`] takes
/// any number of them through memory, so a loop whose every round calls it waits for that.)
#[inline(always)]
pub(crate) fn group(part: &[f32]) -> Lanes {
    match part.first_chunk() {
        Some(whole) => *whole,
        None => end(part),
    }
}

/// Writes what belongs to the elements of a [`group`].
#[inline(always)]
pub(crate) fn put(out: &mut [f32], lanes: &Lanes) {
    if let Some(whole) = out.first_chunk_mut() {
        *whole = *lanes;
    } else {
        put_end(out, *lanes);
    }
}

#[cold]
#[inline(never)]
fn end(part: &[f32]) -> Lanes {
    padded(part, 0.0)
}

#[cold]
#[inline(never)]
fn put_end(out: &mut [f32], lanes: Lanes) {
    out.copy_from_slice(&lanes[..out.len()]);
}

/// `x * y + acc` in every lane, rounded once.
#[inline(always)]
pub(crate) fn fma(x: &Lanes, y: &Lanes, acc: &Lanes) -> Lanes {
    let mut out = [0.0; LANES];
    for l in 0..LANES {
        out[l] = x[l].mul_add(y[l], acc[l]);
    }
    out
}

/// `x + y` in every lane.
#[inline(always)]
pub(crate) fn plus(x: &Lanes, y: &Lanes) -> Lanes {
    let mut out = *x;
    for l in 0..LANES {
        out[l] += y[l];
    }
    out
}

/// `x - y` in every lane.
#[inline(always)]
pub(crate) fn minus(x: &Lanes, y: f32) -> Lanes {
    let mut out = *x;
    for l in 0..LANES {
        out[l] -= y;
    }
    out
}

/// `x * y` in every lane.
#[inline(always)]
pub(crate) fn times(x: &Lanes, y: &Lanes) -> Lanes {
    let mut out = *x;
    for l in 0..LANES {
        out[l] *= y[l];
    }
    out
}

/// The sum of the lanes as a tree: l and l+8, l and l+4, l and l+2, l and l+1.
#[inline(always)]
pub(crate) fn sum(x: &Lanes) -> f32 {
    let mut sums = *x;
    for l in 0..8 {
        sums[l] += sums[l + 8];
    }
    for l in 0..4 {
        sums[l] += sums[l + 4];
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// The greatest lane; NaN lanes are passed over.
#[inline(always)]
pub(crate) fn max(x: &Lanes) -> f32 {
    let mut max = f32::NEG_INFINITY;
    for l in 0..LANES {
        max = if x[l] > max { x[l] } else { max };
    }
    max
}
