//! TQ2_0 for AVX-512; data flow and bounds: [`crate::block::k::avx512`], [`crate::block::arranged`].
//!
//! Each two bits of the 64 bytes are codes of two runs of 32 weights, which meet activations arranged
//! alike.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, qs, scalar};
use crate::activation::Q8KWindow;
use crate::block::arranged::{Arranged, Places, arrange};
use crate::block::beforehand::Room;
use crate::block::k::avx512;
use crate::isa::Avx512;
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

/// Vector `j` meets bits `2 j..2 j + 2`.
const PLACES: Places<4> = {
    let mut places = [[0; 16]; 4];
    let mut i = 0;
    while i < 64 {
        places[i / 8 % 4][8 * (i / 32) + i % 8] = i as u8;
        i += 1;
    }
    places
};

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x, 1, &PLACES);
    avx512::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y, w| {
        let beyond;
        let vectors = match arranged.get(w) {
            Some(vectors) => vectors,
            None => {
                beyond = arrange(y, 1, &PLACES);
                &beyond
            }
        };
        let (first, ys) = vectors;
        let (qs, low_two) = (load_512(qs(block)), _mm512_set1_epi8(3));
        let sum = _mm512_dpbusd_epi32(*first, _mm512_and_si512(qs, low_two), ys[0]);
        let second = _mm512_and_si512(_mm512_srli_epi16::<2>(qs), low_two);
        let sum = _mm512_dpbusd_epi32(sum, second, ys[1]);
        let third = _mm512_and_si512(_mm512_srli_epi16::<4>(qs), low_two);
        let sum = _mm512_dpbusd_epi32(sum, third, ys[2]);
        let fourth = _mm512_and_si512(_mm512_srli_epi16::<6>(qs), low_two);
        _mm512_dpbusd_epi32(sum, fourth, ys[3])
    });
}
