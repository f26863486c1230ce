//! Q5_1 for AVX-512; data flow and bounds: [`crate::block::windows::avx512`]. Here the codes enter as they are.

use super::BYTES;
use super::scalar;
use crate::activation::Q8Window;
use crate::block::beforehand::Room;
use crate::block::windows::avx512;
use crate::block::windows::avx512::nibbles::{self, Arranged};
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
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x);
    avx512::gemv_with_minima(weights, x, out, |blocks: &[[u8; BYTES]; 8], y, w| {
        let codes = nibbles::add_fifth_bits(nibbles::nibbles(blocks), blocks);
        let isum = nibbles::block_sums(codes, 0, &arranged, w, y);
        avx512::terms(isum, avx512::f16s::<BYTES, 0>(blocks), avx512::f16s::<BYTES, 2>(blocks), y)
    });
}
