//! The codebook types for AVX2; data flow and bounds: [`crate::block::k::avx2`].
//!
//! Entries enter unsigned. Marks become bytes of ones: they negate activations, which never are -128, or raise
//! entries. Two products are at most 2 * 62 * 127 = 15748 in magnitude together.

use core::arch::x86_64::*;

use super::{Codebook, Entry, Indices, Marks, entry_of, lone_entry_of, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, load_codes, lookup, ones, opaque};

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn decode<const B: usize, C: Codebook<B>>(blocks: &[u8], out: &mut [f32]) {
    scalar::decode::<B, C>(blocks, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv<const B: usize, C: Codebook<B>>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let isa = Avx2::here();
    avx2::gemv_in_units(weights, x, out, C::UNIT, C::d, |block: &[u8; B], y| {
        if let Some(sum) = C::sum_avx2(block, y, isa) {
            return sum;
        }
        let mut indices = Indices::<B, C>::new();
        let has_indices = C::indices(block, isa, &mut indices);
        let mut marks = C::marks_avx2(block, isa);
        in_memory(&mut marks);
        let scales = in_register(load_128(&C::scales(block)));
        let lanes = even_and_odd(scales);
        let mut sum = _mm256_setzero_si256();
        quarters!(c => {
            let half = |h: usize| {
                let entry = |g: usize| lone_entry_of(block, (has_indices, &indices), C::Entry::IN_64 * c + g);
                let entries = C::Entry::vector_256(isa, h, entry);
                let mask = ones((marks[c] >> (32 * h)) as u32);
                let y = load_codes(&y.codes.as_chunks().0[2 * c + h]);
                let dot = match C::MARKS {
                    Marks::Negate => _mm256_maddubs_epi16(entries, negated(y, mask)),
                    Marks::Raise => _mm256_maddubs_epi16(raised(entries, mask), y),
                };
                _mm256_madd_epi16(dot, two_scales(lanes, 2 * c + h))
            };
            sum = in_order(_mm256_add_epi32(sum, half(0)));
            sum = in_order(_mm256_add_epi32(sum, half(1)));
        });
        match C::MARKS {
            Marks::Negate => sum,
            Marks::Raise => {
                let sums = _mm256_madd_epi16(_mm256_cvtepu8_epi16(scales), avx2::load_sums(y));
                _mm256_sub_epi32(sum, nine_times(sums))
            }
        }
    });
}

/// What a quarter `c` of a super-block gives, for all four. A macro, because the compiler would neither inline a
/// function of so many instructions nor unroll a loop of them.
macro_rules! quarters {
    ($c:ident => $of_quarter:expr) => {{
        let quarter_0 = {
            let $c = 0;
            $of_quarter
        };
        let quarter_1 = {
            let $c = 1;
            $of_quarter
        };
        let quarter_2 = {
            let $c = 2;
            $of_quarter
        };
        let quarter_3 = {
            let $c = 3;
            $of_quarter
        };
        [quarter_0, quarter_1, quarter_2, quarter_3]
    }};
}
pub(crate) use quarters;

/// Has the compiler leave numbers in memory, where a load of one is all it takes, instead of extracting each from
/// its vector.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn in_memory<T, const N: usize>(numbers: &mut [T; N]) {
    // SAFETY: there is no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", in(reg) numbers.as_mut_ptr(), options(nostack, preserves_flags));
    }
}

/// Four entries from memory. Each is loaded into all places and kept in its own: that leaves the unit that shuffles,
/// which insertions would go through, to others.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn four_entries(entries: [i64; 4]) -> __m256i {
    // (Opaque, because the compiler would make insertions of it.)
    let [a, b, c, d] = entries.map(|entry| opaque(_mm256_set1_epi64x(entry)));
    let (low, high) = (_mm256_blend_epi32::<0b1100>(a, b), _mm256_blend_epi32::<0b1100_0000>(c, d));
    _mm256_blend_epi32::<0b1111_0000>(low, high)
}

/// Has the compiler finish a sum before it loads what comes after. It would rather load all indices of a block first,
/// for which there are too few registers.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(mut sum: __m256i) -> __m256i {
    // SAFETY: there is no instruction.
    unsafe { core::arch::asm!("/* {0} */", inout(ymm_reg) sum, options(nostack, preserves_flags)) };
    sum
}

/// Has the compiler make a vector of scales, instead of taking each from where it came from.
#[inline]
#[target_feature(enable = "avx2")]
fn in_register(mut v: __m128i) -> __m128i {
    // SAFETY: there is no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(xmm_reg) v, options(pure, nomem, nostack, preserves_flags));
    };
    v
}

/// Scales, of which none has its highest bit set, as 16-bit numbers: those at even places in the lower half, the
/// others in the upper one.
#[inline]
#[target_feature(enable = "avx2")]
fn even_and_odd(scales: __m128i) -> __m256i {
    let even = _mm_and_si128(scales, _mm_set1_epi16(0xff));
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(even), _mm_srli_epi16::<8>(scales))
}

/// Where the bytes of word `k` of each half are, in all places of the half.
pub(crate) const WORDS: [[i8; 32]; 8] = {
    let mut places = [[0; 32]; 8];
    let mut i = 0;
    while i < 8 * 32 {
        places[i / 32][i % 32] = (2 * (i / 32) + i % 2) as i8;
        i += 1;
    }
    places
};

/// Number `k` of each half, in all places of the half. (Opaque, because the compiler would rather shuffle twice.)
#[inline]
#[target_feature(enable = "avx2")]
fn two_scales(lanes: __m256i, k: usize) -> __m256i {
    _mm256_shuffle_epi8(lanes, opaque(load_codes(&WORDS[k])))
}

/// The bias of raised codes times sums.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn nine_times(sums: __m256i) -> __m256i {
    const { assert!(Marks::Raise.bias() == 9) };
    _mm256_add_epi32(sums, _mm256_slli_epi32::<3>(sums))
}

/// Numbers, of which those are negated that the mask covers.
#[inline]
#[target_feature(enable = "avx2")]
fn negated(numbers: __m256i, mask: __m256i) -> __m256i {
    _mm256_sub_epi8(_mm256_xor_si256(numbers, mask), mask)
}

/// Entries, of which those are two more that the mask covers.
#[inline]
#[target_feature(enable = "avx2")]
fn raised(entries: __m256i, mask: __m256i) -> __m256i {
    _mm256_sub_epi8(entries, _mm256_add_epi8(mask, mask))
}

/// Stores the codes of a super-block plus `bias`, which wraps.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn store_codes<const B: usize, C: Codebook<B>>(block: &[u8; B], bias: u8, out: &mut [u8; 256]) {
    let isa = Avx2::here();
    let mut indices = Indices::<B, C>::new();
    let has_indices = C::indices(block, isa, &mut indices);
    let marks = C::marks_avx2(block, isa);
    let bias = _mm256_set1_epi8(bias.wrapping_sub(C::MARKS.bias()).cast_signed());
    for (c, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let entry = |g: usize| entry_of(block, (has_indices, &indices), C::Entry::IN_64 * c + g);
        let code = |half: usize| {
            let (entries, mask) =
                (C::Entry::vector_256(isa, half, entry), ones((marks[c] >> (32 * half)) as u32));
            let codes = match C::MARKS {
                Marks::Negate => negated(entries, mask),
                Marks::Raise => raised(entries, mask),
            };
            _mm256_add_epi8(codes, bias)
        };
        let (low, high) = (code(0), code(1));
        // SAFETY: two times 32 bytes are stored into 64.
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), low);
            _mm256_storeu_si256(out.as_mut_ptr().add(32).cast(), high);
        }
    }
}

/// The marks of seven and one: sevens of bits in each byte, completed to an even number.
#[inline]
#[target_feature(enable = "avx2")]
fn even_marks(sevens: __m256i) -> [u64; 4] {
    const ODD: [u8; 16] = {
        let mut table = [0; 16];
        let mut i = 0;
        while i < 16 {
            table[i] = (i.count_ones() as u8 & 1) << 7;
            i += 1;
        }
        table
    };
    let folded = _mm256_xor_si256(sevens, _mm256_srli_epi16::<4>(sevens));
    let parity = lookup(&ODD, _mm256_and_si256(folded, _mm256_set1_epi8(15)));
    stored(_mm256_or_si256(sevens, parity))
}

/// The marks in a vector, 64 a word.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn stored(marks: __m256i) -> [u64; 4] {
    let mut words = [0; 4];
    // SAFETY: 32 bytes are stored into 32.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), marks) };
    words
}

/// The marks of words that hold four times seven of them.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn marks_of_words(words: __m256i) -> [u64; 4] {
    let keep = |shifted: __m256i, byte: u32| _mm256_and_si256(shifted, _mm256_set1_epi32(0x7f << (8 * byte)));
    let low = _mm256_or_si256(keep(words, 0), keep(_mm256_slli_epi32::<1>(words), 1));
    let high =
        _mm256_or_si256(keep(_mm256_slli_epi32::<2>(words), 2), keep(_mm256_slli_epi32::<3>(words), 3));
    even_marks(_mm256_or_si256(low, high))
}

/// The marks of 16-bit numbers whose upper seven bits hold seven of them.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn marks_of_halves(halves: [__m256i; 2]) -> [u64; 4] {
    let sevens = _mm256_packus_epi16(_mm256_srli_epi16::<9>(halves[0]), _mm256_srli_epi16::<9>(halves[1]));
    even_marks(_mm256_permute4x64_epi64::<0b11_01_10_00>(sevens))
}

/// Where the high bits of sixteen indices come from: for each, number `first + i / each` of a vector, of `size`
/// bytes.
pub(crate) const fn places(first: usize, each: usize, size: usize) -> [i8; 32] {
    let mut places = [-1; 32];
    let mut i = 0;
    while i < 16 {
        let mut byte = 0;
        while byte < size {
            places[2 * i + byte] = (size * (first + i / each) + byte) as i8;
            byte += 1;
        }
        i += 1;
    }
    places
}

/// The powers of two that shift the high bits of each `each` indices, which lie `step` bits apart, to bit 8; zero
/// where that is a shift down.
pub(crate) const fn factors(each: usize, step: usize) -> [u16; 16] {
    let mut factors = [0; 16];
    let mut i = 0;
    while i < 16 {
        if step * (i % each) <= 8 {
            factors[i] = 1 << (8 - step * (i % each));
        }
        i += 1;
    }
    factors
}

/// Sixteen indices: low bytes, and the bits that `keep` has of numbers of `high` times powers of two.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn sixteen_indices(
    low: &[u8; 16],
    high: __m128i,
    places: &[i8; 32],
    factors: &[u16; 16],
    keep: i16,
) -> __m256i {
    let high = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(high), load_codes(places));
    // SAFETY: 32 bytes are loaded from 32.
    let factors = unsafe { _mm256_loadu_si256(factors.as_ptr().cast()) };
    let high = _mm256_and_si256(_mm256_mullo_epi16(high, factors), _mm256_set1_epi16(keep));
    _mm256_or_si256(_mm256_cvtepu8_epi16(load_128(low)), high)
}
