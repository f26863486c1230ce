//! IQ3_XXS: 256 weights in 98 bytes, 3.0625 bits each, a [`crate::block::codebook`] of 256 entries of four.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the scales |
//! | 2..66 | `qs` | the index of each four weights |
//! | 66..98 | | 32 bits for each 32 weights: four times the signs of seven weights (the eighth makes the number of negative ones even), and the scale in the upper four |
//!
//! A weight is `d / 4 * (2 scale + 1) * code`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod grid;

use crate::array;
use crate::block::codebook::{
    Codebook, Marks, Parts, Rule, bytes_at, columns_of_4, entries_of_4, even_marks, search, sevens, word_at,
};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::wide::{LANES, Wide};

const BYTES: usize = 98;

static ENTRIES: [u32; 256] = entries_of_4(&grid::PACKED, [4, 12, 20, 28, 36, 44, 52, 62]);

static COLUMNS: [[f32; LANES]; 64] = columns_of_4(&ENTRIES);

/// IQ3_XXS as a codebook.
pub(crate) struct Book;

impl Codebook<BYTES> for Book {
    type Entry = u32;
    const TABLE: &'static [u32] = &ENTRIES;
    const UNIT: f32 = 0.25;
    const SUB_LEN: usize = 32;
    const TOP: u8 = 62;
    const MARKS: Marks = Marks::Negate;

    const COLUMNS: &'static [[f32; LANES]] = &COLUMNS;
    const TOP_SCALE: u8 = 31;
    const RULE: Rule = Rule::EvenOfTwo;

    #[inline(always)]
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        search::encode::<V, Self, BYTES, 16, 8, 4>(isa, row, importance, out);
    }

    #[inline(always)]
    fn write(block: &mut [u8; BYTES], parts: &Parts) {
        *block = [0; BYTES];
        block[..2].copy_from_slice(&parts.d);
        for (byte, &index) in block[2..66].iter_mut().zip(&parts.indices) {
            *byte = index as u8;
        }
        for (j, word) in block[66..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *word = parts.word(j);
        }
    }

    #[inline(always)]
    fn d(block: &[u8; BYTES]) -> [u8; 2] {
        *bytes_at(block, 0)
    }

    #[inline(always)]
    fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        array::build(|k| (word_at(block, 66, k / 2) >> 28) as u8 * 2 + 1)
    }

    #[inline(always)]
    fn index(block: &[u8; BYTES], g: usize) -> usize {
        usize::from(block[2 + g])
    }

    #[inline(always)]
    fn marks(block: &[u8; BYTES]) -> [u64; 4] {
        array::build(|c| even_marks(sevens([word_at(block, 66, 2 * c), word_at(block, 66, 2 * c + 1)])))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn marks_avx2(block: &[u8; BYTES], _isa: Avx2) -> [u64; 4] {
        // SAFETY: the proof is of the features.
        unsafe { avx2::marks(block) }
    }
}
