//! IQ2_XXS: 256 weights in 66 bytes, 2.0625 bits each, a [`crate::block::codebook`] of 256 entries of eight.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the scales |
//! | 2..66 | | eight bytes for each 32 weights: four indices, then 32 bits: four times the signs of seven weights (the eighth makes the number of negative ones even), and the scale in the upper four |
//!
//! A weight is `d / 8 * (2 scale + 1) * code`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod grid;

use crate::array;
use crate::block::codebook::{
    Codebook, Marks, Parts, Rule, bytes_at, columns_of_8, entries_of_8, even_marks, search, sevens, word_at,
};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::wide::{LANES, Wide};

const BYTES: usize = 66;

static ENTRIES: [u64; 256] = entries_of_8(&grid::PACKED, [8, 25, 43]);

static COLUMNS: [[f32; LANES]; 128] = columns_of_8(&ENTRIES, 0);

/// IQ2_XXS as a codebook.
pub(crate) struct Book;

/// The word of signs and scale of weights `32 j ..`.
#[inline(always)]
fn word(block: &[u8; BYTES], j: usize) -> u32 {
    word_at(block, 2, 2 * j + 1)
}

impl Codebook<BYTES> for Book {
    type Entry = u64;
    const TABLE: &'static [u64] = &ENTRIES;
    const UNIT: f32 = 0.125;
    const SUB_LEN: usize = 32;
    const TOP: u8 = 43;
    const MARKS: Marks = Marks::Negate;

    const COLUMNS: &'static [[f32; LANES]] = &COLUMNS;
    const TOP_SCALE: u8 = 31;
    const RULE: Rule = Rule::EvenOfEight;

    #[inline(always)]
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        search::encode::<V, Self, BYTES, 16, 4, 8>(isa, row, importance, out);
    }

    #[inline(always)]
    fn write(block: &mut [u8; BYTES], parts: &Parts) {
        *block = [0; BYTES];
        block[..2].copy_from_slice(&parts.d);
        for (j, eight) in block[2..].as_chunks_mut::<8>().0.iter_mut().enumerate() {
            for (i, byte) in eight[..4].iter_mut().enumerate() {
                *byte = parts.indices[4 * j + i] as u8;
            }
            eight[4..].copy_from_slice(&parts.word(j));
        }
    }

    #[inline(always)]
    fn d(block: &[u8; BYTES]) -> [u8; 2] {
        *bytes_at(block, 0)
    }

    #[inline(always)]
    fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        array::build(|k| (word(block, k / 2) >> 28) as u8 * 2 + 1)
    }

    #[inline(always)]
    fn index(block: &[u8; BYTES], g: usize) -> usize {
        usize::from(block[2 + 8 * (g / 4) + g % 4])
    }

    #[inline(always)]
    fn marks(block: &[u8; BYTES]) -> [u64; 4] {
        array::build(|c| even_marks(sevens([word(block, 2 * c), word(block, 2 * c + 1)])))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn marks_avx2(block: &[u8; BYTES], _isa: Avx2) -> [u64; 4] {
        // SAFETY: the proof is of the features.
        unsafe { avx2::marks(block) }
    }
}
