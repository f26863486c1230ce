//! NVFP4 for AVX-512; data flow and bounds: [`crate::block::windows::avx512`], with a sum and a scale for each
//! sixteen weights.
//!
//! A shuffle looks the magnitudes of the values up, and the signs, bit 3 of the codes, negate the activations.

use core::arch::x86_64::*;

use super::{BYTES, avx2, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::beforehand::Room;
use crate::block::tables::{FP4, magnitudes};
use crate::block::windows::avx512;
use crate::block::windows::avx512::nibbles::{Arranged, Codes, half_block_sums};
use crate::isa::Avx512;
use crate::isa::avx2::load_256;
use crate::isa::avx512::lookup;
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
    const MAGNITUDES: [u8; 16] = magnitudes(&FP4);
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x);
    avx512::gemv_of_halves(weights, x, out, |blocks: &[[u8; BYTES]; 4], y, w| {
        let nibbles = nibbles(blocks);
        let codes = array::four(|i| lookup(&MAGNITUDES, nibbles[i]));
        let signs = array::four(|i| _mm512_test_epi8_mask(nibbles[i], _mm512_set1_epi8(8)));
        let d = avx2::scales(blocks);
        let isums = half_block_sums(codes, signs, &arranged, w, y);
        [(isums[0], avx512::scaled(d[0], y)), (isums[1], avx512::scaled(d[1], y))]
    });
}

/// The nibbles of a window.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn nibbles(blocks: &[[u8; BYTES]; 4]) -> Codes {
    let low = _mm512_set1_epi8(15);
    let halves = |pair: usize| {
        let qs = |k: usize| load_256(blocks[k].last_chunk().expect("a block ends with its codes"));
        let qs = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(qs(2 * pair)), qs(2 * pair + 1));
        let (low, high) = (_mm512_and_si512(qs, low), _mm512_and_si512(_mm512_srli_epi16::<4>(qs), low));
        // A quarter has eight bytes of two times sixteen weights: their low nibbles, then their high ones.
        (_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high))
    };
    let (first, second) = (halves(0), halves(1));
    [first.0, first.1, second.0, second.1]
}
