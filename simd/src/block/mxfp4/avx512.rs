//! MXFP4 for AVX-512; data flow and bounds: [`crate::block::windows::avx512`]. Here a shuffle looks the
//! codes up in their table, which holds them 12 too large, as unsigned.

use core::arch::x86_64::*;

use super::{BYTES, avx2, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::beforehand::Room;
use crate::block::tables::{FP4, bytes};
use crate::block::windows::avx512;
use crate::block::windows::avx512::nibbles::{self, Arranged};
use crate::isa::Avx512;
use crate::isa::avx512::{load_512, lookup};
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
    const UNSIGNED: [u8; 16] = bytes(&FP4, 12);
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x);
    avx512::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 8], y, w| {
        let nibbles = nibbles::nibbles(blocks);
        let codes = array::four(|i| lookup(&UNSIGNED, nibbles[i]));
        let isum = nibbles::block_sums(codes, 12, &arranged, w, y);
        (isum, avx512::scaled(scales(blocks), y))
    });
}

/// `d` of eight blocks: two loads reach four of their first bytes each, a permutation gathers the words
/// that hold them, and shifts leave the byte, which is the upper one of every other word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn scales(blocks: &[[u8; BYTES]; 8]) -> __m256 {
    let bytes = blocks.as_flattened();
    let load = |at: usize| load_512(bytes[at..].first_chunk().expect("the load ends inside the window"));
    let order = _mm512_castsi128_si512(_mm_setr_epi16(0, 8, 17, 25, 32, 40, 49, 57));
    let words = _mm512_permutex2var_epi16(load(0), order, load(4 * BYTES));
    let words = _mm256_cvtepu16_epi32(_mm512_castsi512_si128(words));
    let e = _mm256_srlv_epi32(words, _mm256_setr_epi32(0, 8, 0, 8, 0, 8, 0, 8));
    avx2::scales(_mm256_and_si256(e, _mm256_set1_epi32(0xff)))
}
