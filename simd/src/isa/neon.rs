//! Loads, stores, sums and the dot product instruction for NEON kernels.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::isa::{Neon, NeonDotprod};

/// Asks for the cache line at an address, whatever is there, in the second cache.
#[inline(always)]
pub(crate) fn prefetch_later(line: *const u8) {
    // SAFETY: a prefetch changes nothing but caches and never faults.
    unsafe { asm!("prfm pldl2keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags)) };
}

/// 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_u8(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference is to 16 readable bytes.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

/// 16 codes.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_codes(codes: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference is to 16 readable bytes.
    unsafe { vld1q_s8(codes.as_ptr()) }
}

/// Four integers.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_i32(values: &[i32; 4]) -> int32x4_t {
    // SAFETY: the reference is to 16 readable bytes.
    unsafe { vld1q_s32(values.as_ptr()) }
}

/// Four floats.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_f32(values: &[f32; 4]) -> float32x4_t {
    // SAFETY: the reference is to 16 readable bytes.
    unsafe { vld1q_f32(values.as_ptr()) }
}

/// Stores four floats.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store_f32(out: &mut [f32; 4], values: float32x4_t) {
    // SAFETY: the reference is to 16 writable bytes.
    unsafe { vst1q_f32(out.as_mut_ptr(), values) }
}

/// The sums of four vectors of four lanes each: lane `k` is the sum of the lanes of `v[k]`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn sums_of_4(v: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]))
}

/// The step in which the dot products of the NEON tiers differ.
///
/// Everything around it is base NEON, so one body serves all of them; the instruction itself is
/// written in assembly that the compiler takes without the CPU feature. The token proves the feature.
pub(crate) trait Dot: Copy {
    /// Looks at the CPU.
    ///
    /// # Panics
    /// If it lacks the tier.
    fn proof() -> Self;

    /// Adds the sixteen products of codes and activations to the lanes of `acc`, to which lane is up
    /// to the tier. No activation is -128.
    fn add(self, acc: int32x4_t, codes: int8x16_t, y: int8x16_t) -> int32x4_t;
}

impl Dot for Neon {
    fn proof() -> Self {
        Self::detect().expect("this tier's kernels run on CPUs that have it")
    }

    /// Two products share 16 bits: 2 * 128 * 127 is less than 2^15.
    #[inline(always)]
    fn add(self, acc: int32x4_t, codes: int8x16_t, y: int8x16_t) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            let low = vmull_s8(vget_low_s8(codes), vget_low_s8(y));
            vpadalq_s16(acc, vmlal_high_s8(low, codes, y))
        }
    }
}

impl Dot for NeonDotprod {
    fn proof() -> Self {
        Self::detect().expect("this tier's kernels run on CPUs that have it")
    }

    /// Each lane takes the four products at its place.
    #[inline(always)]
    fn add(self, mut acc: int32x4_t, codes: int8x16_t, y: int8x16_t) -> int32x4_t {
        // SAFETY: the instruction reads and writes registers only, and `self` proves that the CPU has
        // it. (The intrinsic for it is not stable.)
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {acc:v}.4s, {codes:v}.16b, {y:v}.16b",
                acc = inout(vreg) acc, codes = in(vreg) codes, y = in(vreg) y,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        acc
    }
}

/// Stores 16 codes.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store_codes(out: &mut [i8; 16], codes: int8x16_t) {
    // SAFETY: the reference is to 16 writable bytes.
    unsafe { vst1q_s8(out.as_mut_ptr(), codes) }
}

/// Every byte, each below 16, looked up in a table.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn lookup(table: &[u8; 16], indices: uint8x16_t) -> uint8x16_t {
    vqtbl1q_u8(load_u8(table), indices)
}

/// A byte of ones for each bit that is set.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn ones(bits: u16) -> uint8x16_t {
    let own = vcreate_u8(0x8040_2010_0804_0201);
    let [low, high] = bits.to_le_bytes();
    vtstq_u8(vcombine_u8(vdup_n_u8(low), vdup_n_u8(high)), vcombine_u8(own, own))
}
