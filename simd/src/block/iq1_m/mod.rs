//! IQ1_M: 256 weights in 56 bytes, 1.75 bits each, a [`crate::block::codebook`] with the entries of IQ1_S.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..32 | `qs` | the low eight bits of the index of each eight weights |
//! | 32..48 | `qh` | nibble `g`, low ones first: the high three bits of index `g`, and whether its weights are an eighth less than the entry says, or an eighth more |
//! | 48..56 | `scales` | four times 16 bits: the scales of four times sixteen weights in three bits each, then four bits of the f16 `d`, the lowest first |
//!
//! A weight is `d / 8 * (2 scale + 1) * code`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
mod avx2;

use crate::array;
#[cfg(target_arch = "x86_64")]
use crate::block::codebook::Indices;
use crate::block::codebook::{Codebook, Marks, Parts, Rule, half_at, long_at, search};
use crate::block::iq1_s::{COLUMNS, ENTRIES};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::wide::{LANES, Wide};

const BYTES: usize = 56;

/// IQ1_M as a codebook.
pub(crate) struct Book;

impl Codebook<BYTES> for Book {
    type Entry = u64;
    const TABLE: &'static [u64] = &ENTRIES;
    const UNIT: f32 = 0.125;
    const SUB_LEN: usize = 16;
    const TOP: u8 = 16;
    const MARKS: Marks = Marks::Raise;

    const COLUMNS: &'static [[f32; LANES]] = &COLUMNS;
    const TOP_SCALE: u8 = 15;
    const RULE: Rule = Rule::Each;
    #[cfg(target_arch = "x86_64")]
    const AS_AVX2: bool = true;

    #[inline(always)]
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        search::encode::<V, Self, BYTES, 128, 2, 8>(isa, row, importance, out);
    }

    #[inline(always)]
    fn write(block: &mut [u8; BYTES], parts: &Parts) {
        *block = [0; BYTES];
        for g in 0..32 {
            let [low, high] = parts.indices[g].to_le_bytes();
            let is_raised = parts.eight(g) != 0;
            block[g] = low;
            block[32 + g / 2] |= (high | u8::from(!is_raised) << 3) << (4 * (g % 2));
        }
        let d = u16::from_le_bytes(parts.d);
        for i in 0..4 {
            let mut half = (d >> (4 * i) & 15) << 12;
            for m in 0..4 {
                half |= u16::from(parts.half(4 * i + m)) << (3 * m);
            }
            block[48 + 2 * i..][..2].copy_from_slice(&half.to_le_bytes());
        }
    }

    #[inline(always)]
    fn d(block: &[u8; BYTES]) -> [u8; 2] {
        let part = |i: usize| half_at(block, 48, i) >> 12 << (4 * i);
        (part(0) | part(1) | part(2) | part(3)).to_le_bytes()
    }

    #[inline(always)]
    fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        array::build(|k| (half_at(block, 48, k / 4) >> (3 * (k % 4)) & 7) as u8 * 2 + 1)
    }

    #[inline(always)]
    fn index(block: &[u8; BYTES], g: usize) -> usize {
        let high = usize::from(block[32 + g / 2]) >> (4 * (g % 2)) << 8 & 0x700;
        high | usize::from(block[g])
    }

    #[inline(always)]
    fn marks(block: &[u8; BYTES]) -> [u64; 4] {
        // Bit 3 of nibble `g` moves to bit `8 g`, and from there to the seven above.
        let of = |nibbles: u64| {
            let nibbles = nibbles >> 3 & 0x1111_1111;
            let pairs = (nibbles | nibbles << 16) & 0x0000_1111_0000_1111;
            let ones = (pairs | pairs << 8) & 0x0011_0011_0011_0011;
            ((ones | ones << 4) & 0x0101_0101_0101_0101) * 0xff
        };
        array::build(|c| of(!(long_at(block, 32, c / 2) >> (32 * (c % 2)))))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn indices(block: &[u8; BYTES], _isa: Avx2, out: &mut Indices<BYTES, Self>) -> bool {
        // SAFETY: the proof is of the features.
        unsafe { avx2::indices(block, out) };
        true
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn marks_avx2(block: &[u8; BYTES], _isa: Avx2) -> [u64; 4] {
        // SAFETY: the proof is of the features.
        unsafe { avx2::marks(block) }
    }
}
