//! Q4_K for AVX-512; data flow and bounds: [`crate::block::k::avx512`].
//!
//! The 32 bytes of a chunk are loaded into both halves of a vector; shifting only the upper half by
//! four leaves the codes of both sub-blocks in the order of the activations. A super-block costs 47
//! instructions: 4 broadcasting loads, 4 shifts, 4 masks, 4 `vpdpbusd` that load the activations, 2 packs,
//! 4 for the scales' places, 2 `vpdpwssd`, 4 for the minima, 15 scalar ones for unpacking the scales.

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
        let dots = array::four(|c| avx512::dot(codes(block, c), y, c));
        (avx512::scaled_by_32(dots, scales), avx2::minima_sums(minima, y))
    });
}

/// The codes of weights `64 c .. 64 c + 64`.
#[inline]
#[target_feature(enable = "avx512f")]
fn codes(block: Block<'_>, c: usize) -> __m512i {
    let both = avx512::broadcast_256(&block.qs().as_chunks().0[c]);
    let shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
    _mm512_and_si512(_mm512_srlv_epi64(both, shifts), _mm512_set1_epi8(15))
}
