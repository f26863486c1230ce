//! What the codebook types share: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S.
//!
//! A super-block of 256 weights holds indices into a table of *entries*, each the magnitudes of eight weights or
//! of four, and *marks*, a bit for each weight. Entry and mark make a small integer, the *code*; a weight is
//!
//! ```text
//! (d * UNIT) * (scale * code)      marks that negate: code = +entry or -entry
//!                                  marks that raise:  code = entry - 9, or two more
//! ```
//!
//! with an odd integer `scale` of sixteen or 32 weights and `UNIT` a power of two, which makes integers of the
//! field's halves and eighths. The product of scale and code is exact, and so is each weight: eleven bits of `d`,
//! five of the scale, six of the code.
//!
//! A type is an implementation of [`Codebook`], and nothing else is specific to it: what the kernels of a CPU
//! need is in this folder once. Entries are looked up one by one, since gather instructions take longer than the
//! loads that they stand for; everything else is done with vectors.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod encode;
#[cfg(target_arch = "x86_64")]
mod indices;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod parts;
pub(crate) mod scalar;
pub(crate) mod search;
mod sums;
mod unpack;

#[cfg(target_arch = "aarch64")]
use core::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use crate::activation::Q8KWindow;
use crate::array;
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::wide::{LANES, Wide};
#[cfg(target_arch = "x86_64")]
pub(crate) use indices::{Indices, entry_of, lone_entry_of};
pub(crate) use parts::{Parts, Rule, columns_of_4, columns_of_8};

/// What the marks of a type do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// They make a code of the entry with the other sign.
    Negate,
    /// They add two. Entries are eight times a number of -1 to 1 plus 8, so that with less 9 a code is eight
    /// times that number, less or plus one.
    Raise,
}

impl Marks {
    /// What is to be subtracted from entries.
    pub(crate) const fn bias(self) -> u8 {
        match self {
            Self::Negate => 0,
            Self::Raise => 9,
        }
    }
}

/// A codebook type with super-blocks of `B` bytes.
pub(crate) trait Codebook<const B: usize> {
    /// An entry: the magnitudes of eight weights or of four, the first in the lowest byte.
    type Entry: Entry;

    /// All entries, a power of two of them.
    const TABLE: &'static [Self::Entry];

    /// What `d` is multiplied with.
    const UNIT: f32;

    /// Weights that share a scale: 16 or 32.
    const SUB_LEN: usize;

    /// The largest entry.
    const TOP: u8;

    /// What the marks do.
    const MARKS: Marks;

    /// The entries for searches: number `i` of entries `16 c ..` is vector `n c + i`, with `n` numbers in an entry; of
    /// types whose marks raise, less the bias.
    const COLUMNS: &'static [[f32; LANES]];

    /// The greatest scale.
    const TOP_SCALE: u8;

    /// Which marks there may be.
    const RULE: Rule;

    /// Whether CPUs with AVX-512 are better off with the kernel for AVX2, as measured.
    #[cfg(target_arch = "x86_64")]
    const AS_AVX2: bool = false;

    /// Encodes a row: [`search::encode`] with the numbers of the type.
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]);

    /// Fills a super-block.
    fn write(block: &mut [u8; B], parts: &Parts);

    /// `d`, as f16 bits.
    fn d(block: &[u8; B]) -> [u8; 2];

    /// The scale of each sixteen weights, at most 31.
    fn scales(block: &[u8; B]) -> [u8; 16];

    /// The index of entry `g`, below 2^16; those of a type that has entries of eight end before 32.
    fn index(block: &[u8; B], g: usize) -> usize;

    /// The marks: bit `i` of word `c` is that of weight `64 c + i`.
    fn marks(block: &[u8; B]) -> [u64; 4];

    /// Writes the indices of all entries, as [`Codebook::index`] has them, if they are better made together, and
    /// returns whether they are. (An array that is returned would be copied before its stores have reached the
    /// cache.)
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn indices(_block: &[u8; B], _isa: Avx2, _out: &mut Indices<B, Self>) -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Lanes that add up to `isum`, if a type has a shorter way there than the one of all.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn sum_avx2(_block: &[u8; B], _y: &Q8KWindow, _isa: Avx2) -> Option<__m256i> {
        None
    }

    /// As [`Codebook::sum_avx2`].
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn sum_avx512(_block: &[u8; B], _y: &Q8KWindow, _isa: Avx512) -> Option<__m512i> {
        None
    }

    /// [`Codebook::marks`], where vectors are faster.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn marks_avx2(block: &[u8; B], _isa: Avx2) -> [u64; 4] {
        Self::marks(block)
    }
}

/// An entry of a table.
pub(crate) trait Entry: Copy + 'static {
    /// Entries of 64 weights.
    const IN_64: usize;

    /// Byte `i`.
    fn byte(self, i: usize) -> u8;

    /// 64 magnitudes, from entries by their place among those of the 64.
    #[cfg(target_arch = "x86_64")]
    fn vector_512(proof: Avx512, entry: impl Fn(usize) -> Self) -> __m512i;

    /// Half `half` of 64 magnitudes.
    #[cfg(target_arch = "x86_64")]
    fn vector_256(proof: Avx2, half: usize, entry: impl Fn(usize) -> Self) -> __m256i;

    /// Quarter `q` of 64 magnitudes.
    #[cfg(target_arch = "aarch64")]
    fn vector_128(proof: Neon, q: usize, entry: impl Fn(usize) -> Self) -> uint8x16_t;
}

impl Entry for u64 {
    const IN_64: usize = 8;

    #[inline(always)]
    fn byte(self, i: usize) -> u8 {
        self.to_le_bytes()[i]
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn vector_512(_proof: Avx512, entry: impl Fn(usize) -> Self) -> __m512i {
        let of = |g: usize| entry(g).cast_signed();
        // SAFETY: the proof is of the features.
        unsafe { _mm512_setr_epi64(of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn vector_256(_proof: Avx2, half: usize, entry: impl Fn(usize) -> Self) -> __m256i {
        let of = |g: usize| entry(4 * half + g).cast_signed();
        // SAFETY: the proof is of the features.
        unsafe { avx2::four_entries([of(0), of(1), of(2), of(3)]) }
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn vector_128(_proof: Neon, q: usize, entry: impl Fn(usize) -> Self) -> uint8x16_t {
        // SAFETY: the proof is of the features.
        unsafe { vcombine_u8(vcreate_u8(entry(2 * q)), vcreate_u8(entry(2 * q + 1))) }
    }
}

impl Entry for u32 {
    const IN_64: usize = 16;

    #[inline(always)]
    fn byte(self, i: usize) -> u8 {
        self.to_le_bytes()[i]
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn vector_512(proof: Avx512, entry: impl Fn(usize) -> Self) -> __m512i {
        let (low, high) =
            (Self::vector_256(proof.avx2(), 0, &entry), Self::vector_256(proof.avx2(), 1, &entry));
        // SAFETY: the proof is of the features.
        unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn vector_256(_proof: Avx2, half: usize, entry: impl Fn(usize) -> Self) -> __m256i {
        let of = |g: usize| entry(8 * half + g).cast_signed();
        // SAFETY: the proof is of the features.
        unsafe { _mm256_setr_epi32(of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)) }
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn vector_128(_proof: Neon, q: usize, entry: impl Fn(usize) -> Self) -> uint8x16_t {
        let two = |g: usize| u64::from(entry(4 * q + g)) | u64::from(entry(4 * q + g + 1)) << 32;
        // SAFETY: the proof is of the features.
        unsafe { vcombine_u8(vcreate_u8(two(0)), vcreate_u8(two(2))) }
    }
}

/// Entry `i` of a type's table. (An index is below the length of the table, which is a power of two: that spares
/// the check.)
#[inline(always)]
pub(crate) fn entry<const B: usize, C: Codebook<B>>(i: usize) -> C::Entry {
    C::TABLE[i & (C::TABLE.len() - 1)]
}

/// Entries of eight from the packed ones of a `grid.rs`: two bits choose one of `levels`.
pub(crate) const fn entries_of_8<const N: usize>(packed: &[u16; N], levels: [u8; 3]) -> [u64; N] {
    let mut entries = [0; N];
    let mut i = 0;
    while i < 8 * N {
        let level = levels[(packed[i / 8] >> (2 * (i % 8)) & 3) as usize];
        entries[i / 8] |= (level as u64) << (8 * (i % 8));
        i += 1;
    }
    entries
}

/// Entries of four from the packed ones of a `grid.rs`: three bits choose one of `levels`.
pub(crate) const fn entries_of_4<const N: usize>(packed: &[u16; N], levels: [u8; 8]) -> [u32; N] {
    let mut entries = [0; N];
    let mut i = 0;
    while i < 4 * N {
        let level = levels[(packed[i / 4] >> (3 * (i % 4)) & 7) as usize];
        entries[i / 4] |= (level as u32) << (8 * (i % 4));
        i += 1;
    }
    entries
}

/// Signs of seven weights in each byte, as the marks of eight: an even number of them are negative.
#[inline(always)]
pub(crate) fn even_marks(sevens: u64) -> u64 {
    // The lowest bit of each byte becomes the parity of all its bits. What neighbours shift in stays above it.
    let halves = sevens ^ sevens >> 4;
    let quarters = halves ^ halves >> 2;
    let parity = (quarters ^ quarters >> 1) & 0x0101_0101_0101_0101;
    sevens | parity << 7
}

/// Seven bits in each byte, from two words that hold four times seven bits in their lower 28.
#[inline(always)]
pub(crate) fn sevens([low, high]: [u32; 2]) -> u64 {
    let word = u64::from(low) | u64::from(high) << 32;
    let of = |i: u32| word << i & 0x0000_007f_0000_007f << (8 * i);
    of(0) | of(1) | of(2) | of(3)
}

/// Twice each nibble plus one, low nibbles first.
#[inline(always)]
pub(crate) fn odd_scales(nibbles: &[u8; 8]) -> [u8; 16] {
    array::build(|k| (nibbles[k / 2] >> (4 * (k % 2)) & 15) * 2 + 1)
}

/// Bytes `at..at + N` of a block.
#[inline(always)]
pub(crate) fn bytes_at<const N: usize, const B: usize>(block: &[u8; B], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("the field is inside the block")
}

/// Word `i` of 32 bits of those that begin at byte `at`.
#[inline(always)]
pub(crate) fn word_at<const B: usize>(block: &[u8; B], at: usize, i: usize) -> u32 {
    u32::from_le_bytes(*bytes_at(block, at + 4 * i))
}

/// Word `i` of 16 bits of those that begin at byte `at`.
#[inline(always)]
pub(crate) fn half_at<const B: usize>(block: &[u8; B], at: usize, i: usize) -> u16 {
    u16::from_le_bytes(*bytes_at(block, at + 2 * i))
}

/// Word `i` of 64 bits of those that begin at byte `at`.
#[inline(always)]
pub(crate) fn long_at<const B: usize>(block: &[u8; B], at: usize, i: usize) -> u64 {
    u64::from_le_bytes(*bytes_at(block, at + 8 * i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_seven_are_completed_to_an_even_number() {
        for seven in 0..128u64 {
            let expected = seven | u64::from(seven.count_ones() % 2) << 7;
            assert_eq!(even_marks(seven * 0x0101_0101_0101_0101), expected * 0x0101_0101_0101_0101);
        }
    }

    #[test]
    fn seven_bits_get_a_byte_each() {
        let fields = [1, 127, 64, 85, 3, 126, 2, 99];
        let pack = |four: &[u32]| four.iter().rev().fold(0xf, |word, field| word << 7 | field);
        let found = sevens([pack(&fields[..4]), pack(&fields[4..])]);
        assert_eq!(found.to_le_bytes().map(u32::from), fields);
    }
}
