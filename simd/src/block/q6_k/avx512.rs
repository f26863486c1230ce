//! Q6_K for AVX-512; data flow and bounds: [`crate::block::k::avx512`].
//!
//! 64 bytes of `ql` hold two runs of 64 weights in the order of the activations, in their low and in
//! their high nibbles; 32 bytes of `qh`, loaded into both halves, are rotated so that the two bits of
//! each half reach bits 4 and 5. Codes enter unsigned, 32 too large: `32 * scale * sum(y)` is subtracted
//! per sub-block. A super-block costs 39 instructions: 4 loads, 14 for the codes, 4 `vpdpbusd` that load
//! the activations, 2 packs, 4 for the scales' places, 2 `vpdpwssd`, 5 for the bias, 4 others.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::{avx2, avx512};
use crate::isa::Avx512;
use crate::isa::avx2::load_128;
use crate::isa::avx512::load_512;
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
    avx512::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y, _| {
        let block = Block(block);
        let (first, second) = (codes(block, 0), codes(block, 1));
        let first = (avx512::dot(first.0, y, 0), avx512::dot(first.1, y, 1));
        let second = (avx512::dot(second.0, y, 2), avx512::dot(second.1, y, 3));
        let scales = load_128(block.scales());
        let bias = _mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), avx2::load_sums(y));
        let bias = _mm512_zextsi256_si512(_mm256_slli_epi32::<5>(bias));
        let sum = _mm512_sub_epi32(_mm512_setzero_si512(), bias);
        avx512::scaled_by_16(sum, [first.0, first.1, second.0, second.1], scales)
    });
}

/// The codes of weights `128 half ..`, two runs of 64.
#[inline]
#[target_feature(enable = "avx512f")]
fn codes(block: Block<'_>, half: usize) -> (__m512i, __m512i) {
    let ql = load_512(&block.ql().as_chunks().0[half]);
    let qh = avx512::broadcast_256(&block.qh().as_chunks().0[half]);
    let code = |low, high| {
        // Bits 0..4 of `low`, the others of `high`, of which bits 4 and 5 remain.
        let codes = _mm512_ternarylogic_epi64::<0xca>(_mm512_set1_epi8(15), low, high);
        _mm512_and_si512(codes, _mm512_set1_epi8(63))
    };
    // A rotation by an even number below a byte moves no bits between the pairs kept.
    let first = _mm512_rolv_epi64(qh, _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2));
    let second = _mm512_rorv_epi64(qh, _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2));
    (code(ql, first), code(_mm512_srli_epi64::<4>(ql), second))
}
