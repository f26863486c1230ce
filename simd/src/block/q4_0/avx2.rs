//! Q4_0 for AVX2; data flow and bounds: [`crate::block::windows::avx2::rows`]. Here the codes enter with their bias of 8.

use super::scalar;
use crate::activation::Q8Window;
use crate::block::windows::avx2::rows;
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
    rows::gemv(weights, x, out, 8, |parts, pair| rows::unsigned(parts, pair));
}
