//! The codes of the 4-bit and 5-bit types, four blocks to a vector.
//!
//! The 16 bytes of four blocks are gathered into the quarters of one vector; its low nibbles are the
//! first sixteen codes of the four blocks, its high nibbles the last sixteen. Both meet activations
//! arranged alike and add into the same accumulator, which so holds a block per quarter. Arranging
//! costs four shuffles a window and is the same for every row: it is done once per call.

use core::arch::x86_64::*;

use super::piece_start;
use crate::activation::Q8Window;
use crate::block::beforehand::Room;
use crate::isa::avx2::load_i32;
use crate::isa::avx512::{load_512, load_codes};

/// Activation codes as the nibbles want them: for each four blocks of a window a vector of their
/// first sixteen codes and one of their last.
pub(crate) type Window = [__m512i; 4];

/// The windows of a row of activations, arranged.
pub(crate) struct Arranged<'a>(&'a [Window]);

impl<'a> Arranged<'a> {
    /// Arranges the windows of a row.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn new(room: &'a mut Room<Window>, x: &[Q8Window]) -> Self {
        Self(room.fill(x, |y| arrange(y)))
    }

    /// Window `w` of the row, which is `y`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn window(&self, w: usize, y: &Q8Window) -> Window {
        self.0.get(w).copied().unwrap_or_else(|| arrange(y))
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn arrange(y: &Q8Window) -> Window {
    let codes = y.codes.as_chunks::<64>().0;
    let quad = |i: usize| {
        let (a, b) = (load_codes(&codes[i]), load_codes(&codes[i + 1]));
        (_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
    };
    let (first, second) = (quad(0), quad(2));
    [first.0, first.1, second.0, second.1]
}

/// The codes of a window: of blocks 0..4 the first sixteen and the last sixteen, then of 4..8.
pub(crate) type Codes = [__m512i; 4];

/// The nibbles of eight blocks whose last 16 bytes hold them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn nibbles<const B: usize>(blocks: &[[u8; B]; 8]) -> Codes {
    let low = _mm512_set1_epi8(15);
    let halves = |quad: usize| {
        let qs = Gather::<B, 16>::LAST_16.of(blocks, quad);
        (_mm512_and_si512(qs, low), _mm512_and_si512(_mm512_srli_epi16::<4>(qs), low))
    };
    let (first, second) = (halves(0), halves(1));
    [first.0, first.1, second.0, second.1]
}

/// Adds to nibbles the fifth bits, which stand in the 4 bytes before them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn add_fifth_bits<const B: usize>(codes: Codes, blocks: &[[u8; B]; 8]) -> Codes {
    let masks = |quad: usize| {
        // The low halves of four qh, then the high halves.
        let qh = _mm512_castsi512_si128(Gather::<B, 4>::FIFTH_BITS.of(blocks, quad));
        (_mm_cvtsi128_si64(qh) as u64, _mm_extract_epi64::<1>(qh) as u64)
    };
    let (first, second) = (masks(0), masks(1));
    let add = |codes, mask| _mm512_mask_add_epi8(codes, mask, codes, _mm512_set1_epi8(16));
    [add(codes[0], first.0), add(codes[1], first.1), add(codes[2], second.0), add(codes[3], second.1)]
}

/// `sum(q * y)` of eight blocks of window `w`, from their codes and the bias that is in them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(crate) fn block_sums(codes: Codes, bias: i32, arranged: &Arranged<'_>, w: usize, y: &Q8Window) -> __m256 {
    let ys = arranged.window(w, y);
    let dot = |i: usize| {
        let first = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes[i], ys[i]);
        _mm512_dpbusd_epi32(first, codes[i + 1], ys[i + 1])
    };
    let biased = sums_of_quarters(dot(0), dot(2));
    let excess = _mm256_mullo_epi32(load_i32(&y.sums), _mm256_set1_epi32(bias));
    _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, excess))
}

/// `sum(q * y)` of the first half of each block of window `w`, and of the second, from the magnitudes of the codes
/// and masks of the negative ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(crate) fn half_block_sums(
    codes: Codes,
    signs: [u64; 4],
    arranged: &Arranged<'_>,
    w: usize,
    y: &Q8Window,
) -> [__m256; 2] {
    let ys = arranged.window(w, y);
    let zero = _mm512_setzero_si512();
    let dot =
        |i: usize| _mm512_dpbusd_epi32(zero, codes[i], _mm512_mask_sub_epi8(ys[i], signs[i], zero, ys[i]));
    [
        _mm256_cvtepi32_ps(sums_of_quarters(dot(0), dot(2))),
        _mm256_cvtepi32_ps(sums_of_quarters(dot(1), dot(3))),
    ]
}

/// The sums of the quarters of the first vector, then those of the second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sums_of_quarters(first: __m512i, second: __m512i) -> __m256i {
    // In each quarter: two partial sums of the first vector's, beside those of the second's.
    let pairs = _mm512_add_epi32(_mm512_unpacklo_epi32(first, second), _mm512_unpackhi_epi32(first, second));
    let sums = _mm512_add_epi32(pairs, _mm512_shuffle_epi32::<0b01_00_11_10>(pairs));
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, sums))
}

/// How a permutation gathers `N` bytes of each of four blocks from two loads of 64 bytes.
struct Gather<const B: usize, const N: usize> {
    /// For each word of the result its place in the loads, the first's 0..32, the second's 32..64; of blocks
    /// 0..4, and of blocks 4..8.
    orders: [[u8; 64]; 2],
}

impl<const B: usize> Gather<B, 16> {
    /// The last 16 bytes of the blocks, block after block.
    const LAST_16: Self = {
        let mut words = [0; 32];
        let mut k = 0;
        while k < 32 {
            words[k] = (k / 8) * B + (B - 16) + 2 * (k % 8);
            k += 1;
        }
        Self::of_words(words)
    };
}

impl<const B: usize> Gather<B, 4> {
    /// The low two of the four bytes before the last 16, of every block; then the high two.
    const FIFTH_BITS: Self = {
        let mut words = [0; 32];
        let mut k = 0;
        while k < 32 {
            words[k] = (k % 4) * B + (B - 20) + 2 * (k / 4 % 2);
            k += 1;
        }
        Self::of_words(words)
    };
}

impl<const B: usize, const N: usize> Gather<B, N> {
    /// Where the two loads begin. Where blocks have an odd length, half of their words lie at odd bytes:
    /// the first load is for those, the second for the others.
    const fn starts(quad: usize) -> [usize; 2] {
        if B.is_multiple_of(2) {
            [piece_start::<B>(quad), piece_start::<B>(quad + 1)]
        } else {
            [4 * B * quad + (B - 16) % 2, 4 * B * (quad + 1) - 64]
        }
    }

    /// The words at these bytes of four blocks.
    const fn of_words(bytes: [usize; 32]) -> Self {
        let mut orders = [[0; 64]; 2];
        let mut quad = 0;
        while quad < 2 {
            let [first, second] = Self::starts(quad);
            let mut k = 0;
            while k < 32 {
                let byte = 4 * B * quad + bytes[k];
                let is_in_first = byte + 2 <= first + 64 && (byte - first).is_multiple_of(2);
                let place = if is_in_first { byte - first } else { 64 + byte - second };
                assert!(place.is_multiple_of(2) && place < 128);
                orders[quad][2 * k] = (place / 2) as u8;
                k += 1;
            }
            quad += 1;
        }
        Self { orders }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn of(&self, blocks: &[[u8; B]; 8], quad: usize) -> __m512i {
        let load = |i: usize| {
            let bytes = &blocks.as_flattened()[Self::starts(quad)[i]..];
            load_512(bytes.first_chunk().expect("the load ends inside the window"))
        };
        _mm512_permutex2var_epi16(load(0), load_512(&self.orders[quad]), load(1))
    }
}
