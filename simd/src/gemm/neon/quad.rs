//! Four bytes of each of sixteen rows in four NEON vectors, and what unpacking does with them.

use core::arch::aarch64::*;
use core::ops::{Add, BitAnd, BitOr, Mul, Shl, Shr};

use crate::block::nvfp4::{FROM_F16, NAN};
use crate::gemm::{ROWS, Rows};

/// Four rows a vector. Only a [`super::NeonTier`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Quad(pub(super) [uint32x4_t; 4]);

impl Add for Quad {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for q in 0..4 {
            // SAFETY: a `NeonTier`, the proof of the features, made the vectors.
            self.0[q] = unsafe { vaddq_u32(self.0[q], other.0[q]) };
        }
        self
    }
}

impl Mul for Quad {
    type Output = Self;
    #[inline(always)]
    fn mul(mut self, other: Self) -> Self {
        for q in 0..4 {
            // SAFETY: a `NeonTier`, the proof of the features, made the vectors.
            self.0[q] = unsafe { vmulq_u32(self.0[q], other.0[q]) };
        }
        self
    }
}

impl BitAnd for Quad {
    type Output = Self;
    #[inline(always)]
    fn bitand(mut self, other: Self) -> Self {
        for q in 0..4 {
            // SAFETY: a `NeonTier`, the proof of the features, made the vectors; so everywhere.
            self.0[q] = unsafe { vandq_u32(self.0[q], other.0[q]) };
        }
        self
    }
}

impl BitOr for Quad {
    type Output = Self;
    #[inline(always)]
    fn bitor(mut self, other: Self) -> Self {
        for q in 0..4 {
            // SAFETY: a `NeonTier`, the proof of the features, made the vectors.
            self.0[q] = unsafe { vorrq_u32(self.0[q], other.0[q]) };
        }
        self
    }
}

impl Shl<u32> for Quad {
    type Output = Self;
    #[inline(always)]
    fn shl(mut self, n: u32) -> Self {
        for q in 0..4 {
            // SAFETY: a `NeonTier`, the proof of the features, made the vectors.
            self.0[q] = unsafe { vshlq_u32(self.0[q], vdupq_n_s32(n.cast_signed())) };
        }
        self
    }
}

impl Shr<u32> for Quad {
    type Output = Self;
    #[inline(always)]
    fn shr(mut self, n: u32) -> Self {
        for q in 0..4 {
            // SAFETY: a `NeonTier`, the proof of the features, made the vectors.
            self.0[q] = unsafe { vshlq_u32(self.0[q], vdupq_n_s32(-n.cast_signed())) };
        }
        self
    }
}

/// Bytes `at..at + 16` of sixteen rows, transposed: quad `t` holds bytes `at + 4t..at + 4t + 4`.
///
/// # Safety
/// The bytes are inside the rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn transposed<const N: usize>(rows: &Rows<'_, N>, at: usize) -> [Quad; 4] {
    let mut out = [Quad([vdupq_n_u32(0); 4]); 4];
    for q in 0..4 {
        let mut v = [vdupq_n_u32(0); 4];
        for i in 0..4 {
            // SAFETY: by this function's contract.
            v[i] = vreinterpretq_u32_u8(unsafe { vld1q_u8(rows.row(4 * q + i).as_ptr().add(at)) });
        }
        let wide = |v| vreinterpretq_u64_u32(v);
        let (ab_even, ab_odd) = (wide(vtrn1q_u32(v[0], v[1])), wide(vtrn2q_u32(v[0], v[1])));
        let (cd_even, cd_odd) = (wide(vtrn1q_u32(v[2], v[3])), wide(vtrn2q_u32(v[2], v[3])));
        out[0].0[q] = vreinterpretq_u32_u64(vtrn1q_u64(ab_even, cd_even));
        out[1].0[q] = vreinterpretq_u32_u64(vtrn1q_u64(ab_odd, cd_odd));
        out[2].0[q] = vreinterpretq_u32_u64(vtrn2q_u64(ab_even, cd_even));
        out[3].0[q] = vreinterpretq_u32_u64(vtrn2q_u64(ab_odd, cd_odd));
    }
    out
}

/// The four signed bytes of each row, each as sixteen integers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn scales(quad: Quad) -> [Quad; 4] {
    let mut out = [quad; 4];
    for q in 0..4 {
        let v = quad.0[q];
        let highest = |v| vreinterpretq_u32_s32(vshrq_n_s32::<24>(vreinterpretq_s32_u32(v)));
        out[0].0[q] = highest(vshlq_n_u32::<24>(v));
        out[1].0[q] = highest(vshlq_n_u32::<16>(v));
        out[2].0[q] = highest(vshlq_n_u32::<8>(v));
        out[3].0[q] = highest(v);
    }
    out
}

/// Stores the values of the f16 in each row's first two bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_f16(quad: Quad, out: &mut [f32; ROWS]) {
    for (v, out) in quad.0.into_iter().zip(out.as_chunks_mut::<4>().0) {
        let values = vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(v)));
        // SAFETY: four floats are stored into four.
        unsafe { vst1q_f32(out.as_mut_ptr(), values) };
    }
}

/// Bits 0..4 of each row, each as bit 4 of a byte.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn spread_bits(mut quad: Quad) -> Quad {
    const ORDER: [u8; 16] = [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12];
    // SAFETY: 16 bytes are loaded from 16.
    let order = unsafe { vld1q_u8(ORDER.as_ptr()) };
    let own = vreinterpretq_u8_u32(vdupq_n_u32(0x0804_0201));
    for v in &mut quad.0 {
        // A copy of the lowest byte in each byte, then its own bit of the copy.
        let copies = vqtbl1q_u8(vreinterpretq_u8_u32(*v), order);
        *v = vreinterpretq_u32_u8(vandq_u8(vtstq_u8(copies, own), vdupq_n_u8(16)));
    }
    quad
}

/// Every byte, each below 16, looked up in a table.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn lookup(table: &[u8; 16], mut quad: Quad) -> Quad {
    for v in &mut quad.0 {
        *v = vreinterpretq_u32_u8(crate::isa::neon::lookup(table, vreinterpretq_u8_u32(*v)));
    }
    quad
}

/// Stores 2^(e - 128), with `e` each row's first byte; see [`crate::block::mxfp4`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_half_powers(quad: Quad, out: &mut [f32; ROWS]) {
    let one = vdupq_n_s32(1);
    for q in 0..4 {
        let e = vreinterpretq_s32_u32(vandq_u32(quad.0[q], vdupq_n_u32(0xff)));
        let normal = vshlq_n_s32::<23>(vsubq_s32(e, one));
        let powers = vmaxq_s32(normal, vshlq_n_s32::<21>(vaddq_s32(e, one)));
        crate::isa::neon::store_f32(&mut out.as_chunks_mut().0[q], vreinterpretq_f32_s32(powers));
    }
}

/// Stores the halves of the E4M3 floats in each row's first byte; see [`crate::block::nvfp4`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_e4m3(quad: Quad, out: &mut [f32; ROWS]) {
    for q in 0..4 {
        let e = vandq_u32(quad.0[q], vdupq_n_u32(0xff));
        let is_nan = vceqq_u32(e, vdupq_n_u32(u32::from(NAN)));
        let bits = vbicq_u32(vandq_u32(vshlq_n_u32::<7>(e), vdupq_n_u32(0x3f80)), is_nan);
        let halves = vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(bits)));
        crate::isa::neon::store_f32(&mut out.as_chunks_mut().0[q], vmulq_n_f32(halves, FROM_F16));
    }
}
