//! Q8_0 for AVX2; data flow and bounds: [`crate::block::windows::avx2`]. Here the codes keep their signs, and lend them to the activations.

use super::BYTES;
use super::scalar;
use crate::activation::Q8Window;
use crate::array;
use crate::block::windows::avx2;
use crate::isa::Avx2;
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
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    avx2::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 8], y, _| {
        let isum = avx2::signed_block_sums(array::eight(|k| avx2::bytes(qs(&blocks[k]))), y);
        (isum, avx2::scaled(avx2::f16s::<BYTES, 0>(blocks), y))
    });
}

/// The codes of a block.
#[inline(always)]
fn qs(block: &[u8; BYTES]) -> &[u8; 32] {
    block.last_chunk().expect("the codes are inside the block")
}
