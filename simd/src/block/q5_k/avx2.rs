//! Q5_K for AVX2; data flow and bounds: [`crate::block::k::avx2`].
//!
//! As Q4_K, and the fifth bits: a byte of `qh` holds those of all sub-blocks, so it is shifted until
//! the bit of the sub-block is bit 4. A super-block costs 88 instructions: Q4_K's 63, and 25 for
//! the fifth bits.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::{avx2, scales};
use crate::isa::Avx2;
use crate::isa::avx2::load_256;
use crate::wide::avx2::Avx2Floats;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<Avx2Floats>(Avx2::here(), row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    avx2::gemv_with_minima::<BLOCK_BYTES, 0>(weights, x, out, |block, y| {
        let block = Block(block);
        let (scales, minima) = scales::unpack(block.scales());
        let isum = avx2::scaled_by_32(scales, |j| avx2::dot(codes(block, j), y, j));
        (isum, avx2::minima_sums(minima, y))
    });
}

/// The codes of sub-block `j`.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(block: Block<'_>, j: usize) -> __m256i {
    let qs = load_256(&block.qs().as_chunks().0[j / 2]);
    let nibbles = if j.is_multiple_of(2) { qs } else { _mm256_srli_epi16::<4>(qs) };
    let low = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
    // Shifting 16 bits at a time mixes neighbouring bytes only in bits that are masked out.
    let qh = load_256(block.qh());
    let at_bit_4 = if j < 4 {
        _mm256_sll_epi16(qh, _mm_cvtsi32_si128(4 - j as i32))
    } else {
        _mm256_srl_epi16(qh, _mm_cvtsi32_si128(j as i32 - 4))
    };
    _mm256_or_si256(low, _mm256_and_si256(at_bit_4, _mm256_set1_epi8(16)))
}
