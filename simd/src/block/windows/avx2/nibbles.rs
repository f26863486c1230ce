//! The codes of the 4-bit and 5-bit types, two blocks to a vector.
//!
//! The 16 bytes of blocks `p` and `p + 4` are put into the halves of one vector; its low nibbles are
//! the first sixteen codes of both blocks, its high nibbles the last sixteen. Both meet activations
//! arranged alike and add in 16 bits (four products of at most 31 * 127 each: no overflow), so that a
//! block stays in its half and three horizontal additions leave the sums of eight blocks in order.
//! Arranging the activations is the same for every row: it is done once per call.

use core::arch::x86_64::*;

use crate::activation::Q8Window;
use crate::array;
use crate::block::beforehand::Room;
use crate::isa::avx2::{load_128, load_codes, load_i32, lookup};

/// The codes of a window: of blocks `p` and `p + 4` the first sixteen, and the last sixteen.
pub(crate) type Codes = [[__m256i; 2]; 4];

/// Activation codes as the nibbles want them, and what the sums of eight blocks begin with.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    codes: Codes,
    first: __m256i,
}

/// The windows of a row of activations, arranged.
pub(crate) struct Arranged<'a> {
    windows: &'a [Window],
    bias: i32,
}

impl<'a> Arranged<'a> {
    /// Arranges the windows of a row, for codes with a bias.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(room: &'a mut Room<Window>, x: &[Q8Window], bias: i32) -> Self {
        Self { windows: room.fill(x, |y| arrange(y, bias)), bias }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn arrange(y: &Q8Window, bias: i32) -> Window {
    let codes = y.codes.as_chunks::<32>().0;
    let codes = array::four(|p| {
        let (low, high) = (load_codes(&codes[p]), load_codes(&codes[p + 4]));
        [_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high)]
    });
    Window { codes, first: _mm256_mullo_epi32(load_i32(&y.sums), _mm256_set1_epi32(-bias)) }
}

/// The nibbles of eight blocks whose last 16 bytes hold them.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn nibbles<const B: usize>(blocks: &[[u8; B]; 8]) -> Codes {
    let low_four = _mm256_set1_epi8(15);
    let last_16 = |k: usize| load_128(blocks[k].last_chunk().expect("a block ends with its nibbles"));
    array::four(|p| {
        let qs = _mm256_set_m128i(last_16(p + 4), last_16(p));
        [_mm256_and_si256(qs, low_four), _mm256_and_si256(_mm256_srli_epi16::<4>(qs), low_four)]
    })
}

/// Adds to nibbles the fifth bits, which stand in the 4 bytes before them.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn add_fifth_bits<const B: usize>(codes: Codes, blocks: &[[u8; B]; 8]) -> Codes {
    let qh = |k: usize| {
        let bytes = blocks[k][B - 20..].first_chunk().expect("the fifth bits stand before the nibbles");
        _mm_set1_epi32(i32::from_le_bytes(*bytes))
    };
    // Each byte receives the byte of qh that holds its bit, and keeps that bit.
    let bytes = |first: i64| _mm256_set1_epi64x(0x0101_0101_0101_0101 * first);
    let (even, odd) = (bytes(0), bytes(1));
    let first = _mm256_blend_epi32::<0b1100_1100>(even, odd);
    let last = _mm256_add_epi8(first, _mm256_set1_epi8(2));
    let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    array::four(|p| {
        let qh = _mm256_set_m128i(qh(p + 4), qh(p));
        let add = |codes, order| {
            let kept = _mm256_and_si256(_mm256_shuffle_epi8(qh, order), bits);
            let is_set = _mm256_cmpeq_epi8(kept, bits);
            _mm256_or_si256(codes, _mm256_and_si256(is_set, _mm256_set1_epi8(16)))
        };
        [add(codes[p][0], first), add(codes[p][1], last)]
    })
}

/// `sum(q * y)` of eight blocks of window `w`, which is `y`, from their unsigned codes of at most `TOP`.
///
/// A lane of 16 bits holds the sum of four products. Where that of sixteen fits (16 * 15 * 127 = 30480), or of
/// eight (8 * 31 * 127 = 31496), lanes are added before they are widened.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn block_sums<const TOP: u8>(
    codes: Codes,
    arranged: &Arranged<'_>,
    w: usize,
    y: &Q8Window,
) -> __m256 {
    const { assert!(TOP <= 31, "eight products fill 16 bits") };
    let mut spare = None;
    let Window { codes: ys, first } =
        arranged.windows.get(w).unwrap_or_else(|| spare.insert(arrange(y, arranged.bias)));
    let dots = array::four(|p| {
        let first = _mm256_maddubs_epi16(codes[p][0], ys[p][0]);
        _mm256_add_epi16(first, _mm256_maddubs_epi16(codes[p][1], ys[p][1]))
    });
    let pairs = |a, b| _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let (low, high) = (pairs(dots[0], dots[1]), pairs(dots[2], dots[3]));
    let ones = _mm256_set1_epi16(1);
    let sums = if TOP <= 15 {
        let (low, high) = (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high));
        let even = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
        let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
        _mm256_madd_epi16(_mm256_add_epi16(even, odd), ones)
    } else {
        _mm256_hadd_epi32(_mm256_madd_epi16(low, ones), _mm256_madd_epi16(high, ones))
    };
    _mm256_cvtepi32_ps(_mm256_add_epi32(sums, *first))
}

/// Nibbles looked up in a table.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn looked_up(table: &[u8; 16], codes: Codes) -> Codes {
    array::four(|p| [lookup(table, codes[p][0]), lookup(table, codes[p][1])])
}
