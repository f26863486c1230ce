//! IQ3_S: 256 weights in 110 bytes, 3.4375 bits each, a [`crate::block::codebook`] of 512 entries of four.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the scales |
//! | 2..66 | `qs` | the low eight bits of the index of each four weights |
//! | 66..74 | `qh` | the high bit of each index |
//! | 74..106 | `signs` | a bit for each weight, set where it is negative |
//! | 106..110 | `scales` | nibble `j`, low ones first, is the scale of weights `32 j ..` |
//!
//! A weight is `d * (2 scale + 1) * code`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod grid;

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use crate::activation::Q8KWindow;
use crate::array;
#[cfg(target_arch = "x86_64")]
use crate::block::codebook::Indices;
use crate::block::codebook::{
    Codebook, Marks, Parts, Rule, bytes_at, columns_of_4, entries_of_4, long_at, search,
};
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::wide::{LANES, Wide};

const BYTES: usize = 110;

static ENTRIES: [u32; 512] = entries_of_4(&grid::PACKED, [1, 3, 5, 7, 9, 11, 13, 15]);

static COLUMNS: [[f32; LANES]; 128] = columns_of_4(&ENTRIES);

/// IQ3_S as a codebook.
pub(crate) struct Book;

impl Codebook<BYTES> for Book {
    type Entry = u32;
    const TABLE: &'static [u32] = &ENTRIES;
    const UNIT: f32 = 1.0;
    const SUB_LEN: usize = 32;
    const TOP: u8 = 15;
    const MARKS: Marks = Marks::Negate;

    const COLUMNS: &'static [[f32; LANES]] = &COLUMNS;
    const TOP_SCALE: u8 = 31;
    const RULE: Rule = Rule::Free;

    #[inline(always)]
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        search::encode::<V, Self, BYTES, 32, 8, 4>(isa, row, importance, out);
    }

    #[inline(always)]
    fn write(block: &mut [u8; BYTES], parts: &Parts) {
        *block = [0; BYTES];
        block[..2].copy_from_slice(&parts.d);
        for g in 0..64 {
            let [low, high] = parts.indices[g].to_le_bytes();
            block[2 + g] = low;
            block[66 + g / 8] |= high << (g % 8);
        }
        for e in 0..32 {
            block[74 + e] = parts.eight(e);
        }
        for j in 0..8 {
            block[106 + j / 2] |= parts.half(2 * j) << (4 * (j % 2));
        }
    }

    #[inline(always)]
    fn d(block: &[u8; BYTES]) -> [u8; 2] {
        *bytes_at(block, 0)
    }

    #[inline(always)]
    fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        array::build(|k| (block[106 + k / 4] >> (4 * (k / 2 % 2)) & 15) * 2 + 1)
    }

    #[inline(always)]
    fn index(block: &[u8; BYTES], g: usize) -> usize {
        let high = usize::from(block[66 + g / 8]) << (8 - g % 8) & 0x100;
        high | usize::from(block[2 + g])
    }

    #[inline(always)]
    fn marks(block: &[u8; BYTES]) -> [u64; 4] {
        array::build(|c| long_at(block, 74, c))
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
    fn sum_avx512(block: &[u8; BYTES], y: &Q8KWindow, _isa: Avx512) -> Option<__m512i> {
        // SAFETY: the proof is of the features.
        Some(unsafe { avx512::sum(block, y) })
    }
}
