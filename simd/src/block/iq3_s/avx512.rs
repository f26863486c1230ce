//! IQ3_S for AVX-512.
//!
//! Magnitudes are odd numbers below 16: an entry of four fits 16 bits, and the table sixteen registers. So entries are
//! not looked up one by one, but 32 at a time: eight permutations choose from 64 entries each, by six bits of an
//! index, and the other three bits choose between their results.
//!
//! ```text
//! 32 indices --8 permutations, 7 blends--> 32 words of four nibbles --split, interleaved--> 2 x 64 magnitudes
//! ```
//!
//! A quarter of a vector of words is a sub-block, and so are the quarters of both vectors of magnitudes, the first
//! sixteen weights of each and the last. A lane of `vpdpbusd` adds eight products: 8 * 15 * 127 fit 16 bits.

use core::arch::x86_64::*;

use super::{BYTES, ENTRIES};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::codebook::avx2::stored;
use crate::block::codebook::{bytes_at, word_at};
use crate::isa::avx2::{load_256, load_codes};
use crate::isa::avx512::{self, load_512};

/// The entries, a nibble a magnitude, as the bytes of vectors.
static NIBBLES: [[u8; 64]; 16] = {
    let mut nibbles = [[0; 64]; 16];
    let mut i = 0;
    while i < 1024 {
        let two = ENTRIES[i / 2] >> (16 * (i % 2));
        nibbles[i / 64][i % 64] = (two & 15 | two >> 4 & 0xf0) as u8;
        i += 1;
    }
    nibbles
};

/// Lanes that add up to `isum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) fn sum(block: &[u8; BYTES], y: &Q8KWindow) -> __m512i {
    // Of the signs of 128 weights first those of the first halves of sub-blocks.
    const FIRST_HALVES: [i8; 32] = {
        let mut places = [0; 32];
        let mut i = 0;
        while i < 32 {
            places[i] = (4 * (i % 8 / 2) + 2 * (i / 8 % 2) + i % 2) as i8;
            i += 1;
        }
        places
    };
    let signs = stored(_mm256_shuffle_epi8(load_256(bytes_at(block, 74)), load_codes(&FIRST_HALVES)));
    let zero = _mm512_setzero_si512();
    let codes = y.codes.as_chunks().0;
    let dots = array::two(|half| {
        let words = entries(bytes_at(block, 2 + 32 * half), word_at(block, 66, half));
        let low_four = _mm512_set1_epi8(15);
        let even = _mm512_and_si512(words, low_four);
        let odd = _mm512_and_si512(_mm512_srli_epi16::<4>(words), low_four);
        let ys = (avx512::load_codes(&codes[2 * half]), avx512::load_codes(&codes[2 * half + 1]));
        let dot = |sum, magnitudes, y, signs| {
            _mm512_dpbusd_epi32(sum, magnitudes, _mm512_mask_sub_epi8(y, signs, zero, y))
        };
        let first = _mm512_shuffle_i64x2::<0b10_00_10_00>(ys.0, ys.1);
        let second = _mm512_shuffle_i64x2::<0b11_01_11_01>(ys.0, ys.1);
        let sum = dot(zero, _mm512_unpacklo_epi8(even, odd), first, signs[2 * half]);
        dot(sum, _mm512_unpackhi_epi8(even, odd), second, signs[2 * half + 1])
    });
    _mm512_dpwssd_epi32(zero, _mm512_packs_epi32(dots[0], dots[1]), scales(word_at(block, 106, 0)))
}

/// 32 entries, of which `low` holds eight bits of the indices, and `high` one of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn entries(low: &[u8; 32], high: u32) -> __m512i {
    let indices = _mm512_cvtepu8_epi16(load_256(low));
    let of_64 = |i: usize| {
        _mm512_permutex2var_epi16(load_512(&NIBBLES[2 * i]), indices, load_512(&NIBBLES[2 * i + 1]))
    };
    let bit_6 = _mm512_test_epi16_mask(indices, _mm512_set1_epi16(64));
    let bit_7 = _mm512_test_epi16_mask(indices, _mm512_set1_epi16(128));
    let of_128 = |i: usize| _mm512_mask_blend_epi16(bit_6, of_64(2 * i), of_64(2 * i + 1));
    let of_256 = |i: usize| _mm512_mask_blend_epi16(bit_7, of_128(2 * i), of_128(2 * i + 1));
    _mm512_mask_blend_epi16(high, of_256(0), of_256(1))
}

/// The scales of the words of both halves' sums packed: each quarter has four sums of a sub-block of the first half,
/// and four of the second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn scales(nibbles: u32) -> __m512i {
    const PLACES: [u8; 64] = {
        let mut places = [0x80; 64];
        let mut word = 0;
        while word < 32 {
            places[2 * word] = (word / 8 + 4 * (word / 4 % 2)) as u8;
            word += 1;
        }
        places
    };
    let nibbles = _mm_cvtsi32_si128(nibbles.cast_signed());
    let eight = _mm_and_si128(_mm_unpacklo_epi8(nibbles, _mm_srli_epi16::<4>(nibbles)), _mm_set1_epi8(15));
    let odd = _mm_or_si128(_mm_add_epi8(eight, eight), _mm_set1_epi8(1));
    _mm512_shuffle_epi8(_mm512_broadcastq_epi64(odd), load_512(&PLACES))
}
