//! Q3_K for AVX-512; data flow and bounds: [`crate::block::k::avx512`].
//!
//! The low bits of half a super-block and all the high bits, 32 bytes each, are loaded into both halves of
//! a vector; shifts that differ between the halves leave 64 codes in the order of the activations. Codes
//! enter unsigned, 4 too large: `4 * scale * sum(y)` is subtracted per sub-block. A super-block costs 48
//! vector instructions and 18 scalar ones: 3 broadcasting loads, 16 for the codes, 4 `vpdpbusd` that load
//! the activations, 2 packs, 2 `vpdpwssd`; the others are for scales, bias and sums.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, scalar, scales};
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
    avx512::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y, _| {
        let block = Block(block);
        let dots = array::four(|c| avx512::dot(codes(block, c), y, c));
        let scales = _mm_sub_epi8(load_128(&scales::unpack(block.scales())), _mm_set1_epi8(32));
        let bias = _mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), avx2::load_sums(y));
        let bias = _mm512_zextsi256_si512(_mm256_slli_epi32::<2>(bias));
        avx512::scaled_by_16(_mm512_sub_epi32(_mm512_setzero_si512(), bias), dots, scales)
    });
}

/// The codes of weights `64 c .. 64 c + 64`.
#[inline]
#[target_feature(enable = "avx512f")]
fn codes(block: Block<'_>, c: usize) -> __m512i {
    let low = avx512::broadcast_256(&block.qs().as_chunks().0[c / 2]);
    let high = avx512::broadcast_256(block.hmask());
    let (a, b) = if c.is_multiple_of(2) { (0, 2) } else { (4, 6) };
    let low = _mm512_srlv_epi64(low, avx512::by_halves(a, b));
    // Bits `2 c` and `2 c + 1` of a byte, in its half each, rotate to bit 2.
    let first = 2 * c as i64 - 2;
    let high = _mm512_rorv_epi64(high, avx512::by_halves(first, first + 1));
    // Bits 0 and 1 of `low`, the others of `high`, of which bit 2 remains.
    let codes = _mm512_ternarylogic_epi64::<0xca>(_mm512_set1_epi8(3), low, high);
    _mm512_and_si512(codes, _mm512_set1_epi8(7))
}
