//! IQ2_XS: 256 weights in 74 bytes, 2.3125 bits each, a [`crate::block::codebook`] of 512 entries of eight.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the scales |
//! | 2..66 | `qs` | 16 bits for each eight weights: nine of the index, then the signs of seven weights (the eighth makes the number of negative ones even) |
//! | 66..74 | `scales` | nibble `k`, low ones first, is the scale of weights `16 k ..` |
//!
//! A weight is `d / 8 * (2 scale + 1) * code`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod grid;

use crate::array;
#[cfg(target_arch = "x86_64")]
use crate::block::codebook::Indices;
use crate::block::codebook::{
    Codebook, Marks, Parts, Rule, bytes_at, columns_of_8, entries_of_8, even_marks, half_at, odd_scales,
    search,
};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::wide::{LANES, Wide};

const BYTES: usize = 74;

static ENTRIES: [u64; 512] = entries_of_8(&grid::PACKED, [8, 25, 43]);

static COLUMNS: [[f32; LANES]; 256] = columns_of_8(&ENTRIES, 0);

/// IQ2_XS as a codebook.
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
    const RULE: Rule = Rule::EvenOfEight;

    #[inline(always)]
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        search::encode::<V, Self, BYTES, 32, 2, 8>(isa, row, importance, out);
    }

    #[inline(always)]
    fn write(block: &mut [u8; BYTES], parts: &Parts) {
        *block = [0; BYTES];
        block[..2].copy_from_slice(&parts.d);
        for (g, two) in block[2..66].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *two = (parts.indices[g] | u16::from(parts.eight(g) & 0x7f) << 9).to_le_bytes();
        }
        for k in 0..16 {
            block[66 + k / 2] |= parts.half(k) << (4 * (k % 2));
        }
    }

    #[inline(always)]
    fn d(block: &[u8; BYTES]) -> [u8; 2] {
        *bytes_at(block, 0)
    }

    #[inline(always)]
    fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        odd_scales(bytes_at(block, 66))
    }

    #[inline(always)]
    fn index(block: &[u8; BYTES], g: usize) -> usize {
        usize::from(half_at(block, 2, g) & 511)
    }

    #[inline(always)]
    fn marks(block: &[u8; BYTES]) -> [u64; 4] {
        let sevens: [u8; 32] = array::build(|g| (half_at(block, 2, g) >> 9) as u8);
        array::build(|c| even_marks(u64::from_le_bytes(sevens.as_chunks().0[c])))
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
