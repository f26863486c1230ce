//! Q2_K for AVX-512; data flow and bounds: [`crate::block::k::avx512`].
//!
//! The 32 bytes of half a super-block are loaded into both halves of a vector; shifting the upper half by
//! two bits more leaves 64 codes in the order of the activations. A super-block costs 36 vector
//! instructions: 2 broadcasting loads, 4 shifts, 4 masks, 4 `vpdpbusd` that load the activations, 2 packs,
//! 5 for the scales' places, 2 `vpdpwssd`, 5 for the minima, 8 to begin and to keep the sums.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, HALVES, scalar};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::k::{avx2, avx512};
use crate::isa::Avx512;
use crate::isa::avx2::load_128;
use crate::wide::avx512::Avx512Floats;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<Avx512Floats>(Avx512::here(), row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    avx512::gemv_with_minima::<BLOCK_BYTES, HALVES>(weights, x, out, |block, y| {
        let block = Block(block);
        let dots = array::four(|c| avx512::dot(codes(block, c), y, c));
        let bytes = load_128(block.scales());
        let scales = _mm_and_si128(bytes, _mm_set1_epi8(15));
        let minima = _mm_and_si128(_mm_srli_epi16::<4>(bytes), _mm_set1_epi8(15));
        let msum = _mm256_madd_epi16(_mm256_cvtepu8_epi16(minima), avx2::load_sums(y));
        (avx512::scaled_by_16(_mm512_setzero_si512(), dots, scales), msum)
    });
}

/// The codes of weights `64 c .. 64 c + 64`.
#[inline]
#[target_feature(enable = "avx512f")]
fn codes(block: Block<'_>, c: usize) -> __m512i {
    let both = avx512::broadcast_256(&block.qs().as_chunks().0[c / 2]);
    let (a, b) = if c.is_multiple_of(2) { (0, 2) } else { (4, 6) };
    _mm512_and_si512(_mm512_srlv_epi64(both, avx512::by_halves(a, b)), _mm512_set1_epi8(3))
}
