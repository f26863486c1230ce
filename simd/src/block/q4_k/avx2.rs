//! Q4_K for AVX2; data flow and bounds: [`crate::block::k::avx2`].
//!
//! The low and the high nibbles of 32 bytes are the codes of two sub-blocks. A super-block costs 63
//! instructions: 4 loads, 12 for the nibbles, 8 `vpmaddubsw`, 8 shuffles of the scales, 8 `vpmaddwd`,
//! 8 additions, and 15 scalar ones for unpacking the scales and minima.

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
    _mm256_and_si256(nibbles, _mm256_set1_epi8(15))
}
