//! Q6_K for AVX2; data flow and bounds: [`crate::block::k::avx2`].
//!
//! 32 weights at a time, which are two sub-blocks, one in each half of a vector. Codes enter unsigned,
//! 32 too large: `32 * scale * sum(y)` is subtracted per sub-block. A super-block costs 84 instructions:
//! 6 loads, 38 for the codes, 8 `vpmaddubsw`, 16 for the scales' places, 8 `vpmaddwd`, 8 additions.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, load_256};
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
    avx2::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y| {
        let block = Block(block);
        let scales = load_128(block.scales());
        let bias = _mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), avx2::load_sums(y));
        let sum = avx2::scaled_by_16(scales, |k| avx2::dot(codes(block, k), y, k));
        _mm256_sub_epi32(sum, _mm256_slli_epi32::<5>(bias))
    });
}

/// The codes of weights `32 k ..`, two sub-blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(block: Block<'_>, k: usize) -> __m256i {
    let (half, part) = (k / 4, k % 4);
    let ql = load_256(&block.ql().as_chunks().0[2 * half + part % 2]);
    let qh = load_256(&block.qh().as_chunks().0[half]);
    let nibbles = if part < 2 { ql } else { _mm256_srli_epi16::<4>(ql) };
    // Shifting 16 bits at a time mixes neighbouring bytes only in bits that are masked out.
    let high = match part {
        0 => _mm256_slli_epi16::<4>(qh),
        1 => _mm256_slli_epi16::<2>(qh),
        2 => qh,
        _ => _mm256_srli_epi16::<2>(qh),
    };
    let low = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
    _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(48)))
}
