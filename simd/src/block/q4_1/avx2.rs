//! Q4_1 for AVX2; data flow and bounds: [`crate::block::windows::avx2`]. Here the codes enter as they are.

use super::BYTES;
use super::scalar;
use crate::activation::Q8Window;
use crate::block::beforehand::Room;
use crate::block::windows::avx2::nibbles::Arranged;
use crate::block::windows::avx2::{self, nibbles};
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
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x, 0);
    avx2::gemv_with_minima(weights, x, out, |blocks: &[[u8; BYTES]; 8], y, w| {
        let codes = nibbles::nibbles(blocks);
        let isum = nibbles::block_sums::<15>(codes, &arranged, w, y);
        let (d, m) = avx2::pairs_of_f16(blocks);
        avx2::terms(isum, d, m, y)
    });
}
