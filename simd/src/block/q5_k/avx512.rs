//! Q5_K for AVX-512; data flow and bounds: [`crate::block::k::avx512`].
//!
//! As Q4_K, and the fifth bits: `qh` in both halves is rotated so that the bit of each half's sub-block
//! reaches bit 4 of its byte. A super-block costs 56 instructions: Q4_K's 47, a load, 4 rotations
//! and 4 selections.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, scalar};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::k::{avx2, avx512, scales};
use crate::isa::Avx512;
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
    avx512::gemv_with_minima::<BLOCK_BYTES, 0>(weights, x, out, |block, y| {
        let block = Block(block);
        let (scales, minima) = scales::unpack(block.scales());
        let qh = avx512::broadcast_256(block.qh());
        let dots = array::four(|c| avx512::dot(codes(block, qh, c), y, c));
        (avx512::scaled_by_32(dots, scales), avx2::minima_sums(minima, y))
    });
}

/// The codes of weights `64 c .. 64 c + 64`.
#[inline]
#[target_feature(enable = "avx512f")]
fn codes(block: Block<'_>, qh: __m512i, c: usize) -> __m512i {
    let both = avx512::broadcast_256(&block.qs().as_chunks().0[c]);
    let low = _mm512_srlv_epi64(both, halves(0, 4));
    // Bits 2 c and 2 c + 1 go to bit 4. A rotation moves no other bit of a byte there.
    let bit = 2 * c as i64;
    let high = _mm512_rolv_epi64(qh, halves((64 + 4 - bit) % 64, (64 + 3 - bit) % 64));
    // Bits 0..4 of `low`, the others of `high`, of which bit 4 remains.
    let codes = _mm512_ternarylogic_epi64::<0xca>(_mm512_set1_epi8(15), low, high);
    _mm512_and_si512(codes, _mm512_set1_epi8(31))
}

/// A number for each half.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(low: i64, high: i64) -> __m512i {
    _mm512_setr_epi64(low, low, low, low, high, high, high, high)
}
