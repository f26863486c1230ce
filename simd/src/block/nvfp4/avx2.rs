//! NVFP4 for AVX2; data flow: [`crate::block::windows::avx2`], with a sum and a scale for each sixteen weights.
//!
//! The 32 bytes of a block are a vector: its low nibbles are the first eight codes of four sixteens, its high nibbles
//! the last eight. A shuffle looks them up in their table, with a bias that makes them unsigned, and both meet
//! activations arranged alike, once per call.

use core::arch::x86_64::*;

use super::{BYTES, FROM_F16, NAN, scalar};
use crate::activation::Q8Window;
use crate::array;
use crate::block::beforehand::Room;
use crate::block::tables::{FP4, bytes};
use crate::block::windows::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_256, load_codes, lookup};
use crate::wide::avx2::Avx2Floats;

/// What makes the table's values unsigned.
const BIAS: i32 = 12;

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
    let arranged = room.fill(x, |y| Window::arrange(y));
    avx2::gemv_of_halves(weights, x, out, |blocks: &[[u8; BYTES]; 4], y, w| {
        let mut spare = None;
        let window = arranged.get(w).unwrap_or_else(|| spare.insert(Window::arrange(y)));
        let isums = window.products(blocks);
        let d = scales(blocks);
        [(isums[0], avx2::scaled(d[0], y)), (isums[1], avx2::scaled(d[1], y))]
    });
}

/// The activation codes of a window as nibbles want them, and what the sums of its sixteens begin with.
#[derive(Clone, Copy)]
struct Window {
    /// Of each block's four sixteens the first eight codes, and the last eight.
    codes: [[__m256i; 2]; 4],
    /// Minus the bias times the sums of codes; of the first half of each 32 weights, and of the second.
    first: [__m256i; 2],
}

impl Window {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn arrange(y: &Q8Window) -> Self {
        let eights = y.codes.as_chunks::<32>().0;
        let codes = array::four(|b| {
            let (low, high) = (load_codes(&eights[2 * b]), load_codes(&eights[2 * b + 1]));
            let in_turn = |v| _mm256_permute4x64_epi64::<0b11_01_10_00>(v);
            let (first, last) = (_mm256_unpacklo_epi64(low, high), _mm256_unpackhi_epi64(low, high));
            [in_turn(first), in_turn(last)]
        });
        let ones = _mm256_set1_epi8(1);
        let dots = array::four(|b| {
            _mm256_add_epi16(_mm256_maddubs_epi16(ones, codes[b][0]), _mm256_maddubs_epi16(ones, codes[b][1]))
        });
        let first = sums_of_4(dots).map(|sums| _mm256_mullo_epi32(sums, _mm256_set1_epi32(-BIAS)));
        Self { codes, first }
    }

    /// `sum(q * y)` of the first half of each 32 weights, and of the second. (Four products in 16 bits are at most
    /// 4 * 24 * 127 = 12192, and eight, which [`sums_of_4`] packs, 24384.)
    #[inline]
    #[target_feature(enable = "avx2")]
    fn products(&self, blocks: &[[u8; BYTES]; 4]) -> [__m256; 2] {
        const UNSIGNED: [u8; 16] = bytes(&FP4, BIAS);
        let low_four = _mm256_set1_epi8(15);
        let sums = sums_of_4(array::four(|b| {
            let nibbles = load_256(blocks[b].last_chunk().expect("a block ends with its nibbles"));
            let low = lookup(&UNSIGNED, _mm256_and_si256(nibbles, low_four));
            let high = lookup(&UNSIGNED, _mm256_and_si256(_mm256_srli_epi16::<4>(nibbles), low_four));
            let first = _mm256_maddubs_epi16(low, self.codes[b][0]);
            _mm256_add_epi16(first, _mm256_maddubs_epi16(high, self.codes[b][1]))
        }));
        let biased = |h: usize| _mm256_cvtepi32_ps(_mm256_add_epi32(sums[h], self.first[h]));
        [biased(0), biased(1)]
    }
}

/// The sums of each four lanes of 16 bits, as a window's four blocks have them: those of the first half of each 32
/// weights, and of the second. The sum of two lanes is to fit 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of_4(dots: [__m256i; 4]) -> [__m256i; 2] {
    let ones = _mm256_set1_epi16(1);
    let pair = |b: usize| {
        let twos = [_mm256_madd_epi16(dots[b], ones), _mm256_madd_epi16(dots[b + 1], ones)];
        _mm256_castsi256_ps(_mm256_madd_epi16(_mm256_packs_epi32(twos[0], twos[1]), ones))
    };
    // The first two sixteens of two blocks, and the last two.
    let (low, high) = (pair(0), pair(2));
    let in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let half = |v| _mm256_permutevar8x32_epi32(_mm256_castps_si256(v), in_order);
    [half(_mm256_shuffle_ps::<0b10_00_10_00>(low, high)), half(_mm256_shuffle_ps::<0b11_01_11_01>(low, high))]
}

/// `d` of the first and of the second half of each 32 weights, as [`super::scale`] computes it.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn scales(blocks: &[[u8; BYTES]; 4]) -> [__m256; 2] {
    let word = |k: usize| i32::from_le_bytes(*blocks[k].first_chunk().expect("four scales"));
    let e = _mm_setr_epi32(word(0), word(1), word(2), word(3));
    let e = _mm_andnot_si128(_mm_cmpeq_epi8(e, _mm_set1_epi8(NAN.cast_signed())), e);
    let halves = |e: __m128i| _mm256_mul_ps(_mm256_cvtph_ps(e), _mm256_set1_ps(FROM_F16));
    // The first of each two bytes as an f16, and the second.
    let bits = _mm_set1_epi16(0x3f80);
    [halves(_mm_and_si128(_mm_slli_epi16::<7>(e), bits)), halves(_mm_and_si128(_mm_srli_epi16::<1>(e), bits))]
}
