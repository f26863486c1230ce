//! The codebook types for NEON; data flow and bounds: [`crate::block::k::neon`].
//!
//! Marks become bytes of ones, and entries codes, which enter as they are.

use core::arch::aarch64::*;

use super::{Codebook, Entry, Marks, entry, scalar};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::k::neon;
use crate::isa::Neon;
use crate::isa::neon::{Dot, ones};

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "neon")]
pub(crate) fn decode<const B: usize, C: Codebook<B>>(blocks: &[u8], out: &mut [f32]) {
    scalar::decode::<B, C>(blocks, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "neon")]
pub(crate) fn gemv<const B: usize, C: Codebook<B>, D: Dot>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let isa = Neon::here();
    neon::gemv_in_units(weights, x, out, C::UNIT, C::d, |dot: D, block: &[u8; B], y| {
        let (marks, scales) = (C::marks(block), C::scales(block));
        // Written out: in a loop, entries would go through memory.
        let sums = array::four(|c| {
            let entry = |g: usize| entry::<B, C>(C::index(block, C::Entry::IN_64 * c + g));
            let quarters = array::four(|q| {
                let entries = C::Entry::vector_128(isa, q, entry);
                let codes = codes(entries, (marks[c] >> (16 * q)) as u16, C::MARKS, 0);
                let sum_of_16 = neon::dot(dot, vdupq_n_s32(0), codes, y, 4 * c + q);
                vmulq_n_s32(sum_of_16, i32::from(scales[4 * c + q]))
            });
            vaddq_s32(vaddq_s32(quarters[0], quarters[1]), vaddq_s32(quarters[2], quarters[3]))
        });
        vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3]))
    });
}

/// The codes of entries plus `bias`, which wraps.
#[inline]
#[target_feature(enable = "neon")]
fn codes(entries: uint8x16_t, marks: u16, how: Marks, bias: u8) -> uint8x16_t {
    let mask = ones(marks);
    let codes = match how {
        Marks::Negate => vsubq_u8(veorq_u8(entries, mask), mask),
        Marks::Raise => vsubq_u8(entries, vaddq_u8(mask, mask)),
    };
    vaddq_u8(codes, vdupq_n_u8(bias.wrapping_sub(how.bias())))
}

/// Stores the codes of a super-block plus `bias`, which wraps.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store_codes<const B: usize, C: Codebook<B>>(block: &[u8; B], bias: u8, out: &mut [u8; 256]) {
    let (isa, marks) = (Neon::here(), C::marks(block));
    for (c, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let entry = |g: usize| entry::<B, C>(C::index(block, C::Entry::IN_64 * c + g));
        let quarters = array::four(|q| {
            let entries = C::Entry::vector_128(isa, q, entry);
            codes(entries, (marks[c] >> (16 * q)) as u16, C::MARKS, bias)
        });
        for (quarter, out) in quarters.into_iter().zip(out.as_chunks_mut::<16>().0) {
            // SAFETY: 16 bytes are stored into 16.
            unsafe { vst1q_u8(out.as_mut_ptr(), quarter) };
        }
    }
}
