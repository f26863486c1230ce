//! Loads, stores, sums and the dot product instruction for NEON kernels.

use core::arch::aarch64::*;
use core::arch::asm;

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

/// Adds to each lane of `acc` the four products of the same place in `a` and `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes registers only, and `dotprod` is enabled here. (The
    // intrinsic for it is not stable.)
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
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
