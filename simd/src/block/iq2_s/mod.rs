//! IQ2_S: 256 weights in 82 bytes, 2.5625 bits each, a [`crate::block::codebook`] of 1024 entries of eight.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the scales |
//! | 2..34 | `qs` | the low eight bits of the index of each eight weights |
//! | 34..66 | `signs` | a bit for each weight, set where it is negative |
//! | 66..74 | `qh` | the high two bits of four indices a byte, the first in the lowest |
//! | 74..82 | `scales` | nibble `k`, low ones first, is the scale of weights `16 k ..` |
//!
//! A weight is `d / 8 * (2 scale + 1) * code`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod grid;

use crate::array;
#[cfg(target_arch = "x86_64")]
use crate::block::codebook::Indices;
use crate::block::codebook::{
    Codebook, Marks, Parts, Rule, bytes_at, columns_of_8, entries_of_8, long_at, odd_scales, search,
};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::wide::{LANES, Wide};

const BYTES: usize = 82;

static ENTRIES: [u64; 1024] = entries_of_8(&grid::PACKED, [8, 25, 43]);

static COLUMNS: [[f32; LANES]; 512] = columns_of_8(&ENTRIES, 0);

/// IQ2_S as a codebook.
pub(crate) struct Book;

impl Codebook<BYTES> for Book {
    type Entry = u64;
    const TABLE: &'static [u64] = &ENTRIES;
    const UNIT: f32 = 0.125;
    const SUB_LEN: usize = 16;
    const TOP: u8 = 43;
    const MARKS: Marks = Marks::Negate;

    const COLUMNS: &'static [[f32; LANES]] = &COLUMNS;
    const TOP_SCALE: u8 = 31;
    const RULE: Rule = Rule::Free;

    #[inline(always)]
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        search::encode::<V, Self, BYTES, 64, 2, 8>(isa, row, importance, out);
    }

    #[inline(always)]
    fn write(block: &mut [u8; BYTES], parts: &Parts) {
        *block = [0; BYTES];
        block[..2].copy_from_slice(&parts.d);
        for g in 0..32 {
            let [low, high] = parts.indices[g].to_le_bytes();
            block[2 + g] = low;
            block[34 + g] = parts.eight(g);
            block[66 + g / 4] |= high << (2 * (g % 4));
        }
        for k in 0..16 {
            block[74 + k / 2] |= parts.half(k) << (4 * (k % 2));
        }
    }

    #[inline(always)]
    fn d(block: &[u8; BYTES]) -> [u8; 2] {
        *bytes_at(block, 0)
    }

    #[inline(always)]
    fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        odd_scales(bytes_at(block, 74))
    }

    #[inline(always)]
    fn index(block: &[u8; BYTES], g: usize) -> usize {
        let high = usize::from(block[66 + g / 4]) << (8 - 2 * (g % 4)) & 0x300;
        high | usize::from(block[2 + g])
    }

    #[inline(always)]
    fn marks(block: &[u8; BYTES]) -> [u64; 4] {
        array::build(|c| long_at(block, 34, c))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn indices(block: &[u8; BYTES], _isa: Avx2, out: &mut Indices<BYTES, Self>) -> bool {
        // SAFETY: the proof is of the features.
        unsafe { avx2::indices(block, out) };
        true
    }
}
