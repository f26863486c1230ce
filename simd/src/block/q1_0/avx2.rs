//! Q1_0 for AVX2; data flow and bounds: [`crate::block::windows::avx2`]. Here signs become codes of 0 and 1, which meet
//! activations as nibbles do: twice their products, less the sums of the activations, are those of -1 and 1.

use core::arch::x86_64::*;

use super::{BYTES, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::beforehand::Room;
use crate::block::windows::avx2::nibbles::{Arranged, Codes};
use crate::block::windows::avx2::{self, nibbles};
use crate::isa::avx2::{load_128, load_i32, opaque};

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode(row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x, 0);
    avx2::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 2], y, w| {
        let sums = nibbles::block_sums::<1>(codes(blocks), &arranged, w, y);
        let isum = _mm256_fmsub_ps(sums, _mm256_set1_ps(2.0), _mm256_cvtepi32_ps(load_i32(&y.sums)));
        (isum, avx2::scaled(scales(blocks), y))
    });
}

/// The bits of a window as bytes: each is copied to eight places, of which each keeps its own bit, as a one.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(blocks: &[[u8; BYTES]; 2]) -> Codes {
    let bits = |b: usize| load_128(blocks[b].last_chunk().expect("a block ends with its signs"));
    let bits = _mm256_set_m128i(bits(1), bits(0));
    // (Opaque, because the compiler would rather compare and mask.)
    let one = opaque(_mm256_set1_epi8(1));
    let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let sixteen = |first: usize| {
        let eight = |byte: usize| 0x0101_0101_0101_0101 * byte as i64;
        let places = _mm256_broadcastsi128_si256(_mm_set_epi64x(eight(first + 1), eight(first)));
        let kept = _mm256_and_si256(_mm256_shuffle_epi8(bits, places), own);
        _mm256_min_epu8(kept, one)
    };
    array::four(|p| [sixteen(4 * p), sixteen(4 * p + 2)])
}

/// `d` of each 32 weights.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn scales(blocks: &[[u8; BYTES]; 2]) -> __m256 {
    let four = |block: &[u8; BYTES]| {
        (0x0001_0001_0001_0001 * u64::from(u16::from_le_bytes([block[0], block[1]]))).cast_signed()
    };
    _mm256_cvtph_ps(_mm_set_epi64x(four(&blocks[1]), four(&blocks[0])))
}
