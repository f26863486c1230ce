//! Q2_K for AVX2; data flow and bounds: [`crate::block::k::avx2`].
//!
//! 32 weights at a time, which are two sub-blocks, one in each half of a vector. A super-block costs 75
//! vector instructions: 3 loads, 14 for the codes, 8 `vpmaddubsw` that load the activations, 17 for the
//! scales' places, 8 `vpmaddwd`, 8 additions; the others are for minima and sums.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, HALVES, scalar};
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
    avx2::gemv_with_minima::<BLOCK_BYTES, HALVES>(weights, x, out, |block, y| {
        let block = Block(block);
        let bytes = load_128(block.scales());
        let scales = _mm_and_si128(bytes, _mm_set1_epi8(15));
        let minima = _mm_and_si128(_mm_srli_epi16::<4>(bytes), _mm_set1_epi8(15));
        let isum = avx2::scaled_by_16(scales, |k| avx2::dot(codes(block, k), y, k));
        (isum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(minima), avx2::load_sums(y)))
    });
}

/// The codes of weights `32 k ..`, two sub-blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(block: Block<'_>, k: usize) -> __m256i {
    let qs = load_256(&block.qs().as_chunks().0[k / 4]);
    _mm256_and_si256(avx2::shifted_down(qs, 2 * (k % 4)), _mm256_set1_epi8(3))
}
