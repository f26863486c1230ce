//! IQ1_S: 256 weights in 50 bytes, 1.5625 bits each, a [`crate::block::codebook`] of 2048 entries of eight.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 0..2 | `d` | f16 scale of the scales |
//! | 2..34 | `qs` | the low eight bits of the index of each eight weights |
//! | 34..50 | `qh` | 16 bits for each 32 weights: the high three bits of four indices, the scale in three bits, and whether a weight is an eighth less than its entry says, or an eighth more |
//!
//! A weight is `d / 8 * (2 scale + 1) * code`. Any bytes are a valid block.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(super) mod grid;

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use crate::activation::Q8KWindow;
use crate::array;
#[cfg(target_arch = "x86_64")]
use crate::block::codebook::Indices;
use crate::block::codebook::{
    Codebook, Marks, Parts, Rule, bytes_at, columns_of_8, entries_of_8, half_at, search,
};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::wide::{LANES, Wide};

const BYTES: usize = 50;

/// The entries of this type and of IQ1_M.
pub(super) static ENTRIES: [u64; 2048] = entries_of_8(&grid::PACKED, [0, 8, 16]);

pub(super) static COLUMNS: [[f32; LANES]; 1024] = columns_of_8(&ENTRIES, 9);

/// IQ1_S as a codebook.
pub(crate) struct Book;

impl Codebook<BYTES> for Book {
    type Entry = u64;
    const TABLE: &'static [u64] = &ENTRIES;
    const UNIT: f32 = 0.125;
    const SUB_LEN: usize = 32;
    const TOP: u8 = 16;
    const MARKS: Marks = Marks::Raise;

    const COLUMNS: &'static [[f32; LANES]] = &COLUMNS;
    const TOP_SCALE: u8 = 15;
    const RULE: Rule = Rule::Together;
    #[cfg(target_arch = "x86_64")]
    const AS_AVX2: bool = true;

    #[inline(always)]
    fn encode<V: Wide>(isa: V::Proof, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        search::encode::<V, Self, BYTES, 128, 4, 8>(isa, row, importance, out);
    }

    #[inline(always)]
    fn write(block: &mut [u8; BYTES], parts: &Parts) {
        *block = [0; BYTES];
        block[..2].copy_from_slice(&parts.d);
        for j in 0..8 {
            let is_raised = parts.eight(4 * j) != 0;
            let mut half = u16::from(parts.half(2 * j)) << 12 | u16::from(!is_raised) << 15;
            for i in 0..4 {
                let [low, high] = parts.indices[4 * j + i].to_le_bytes();
                block[2 + 4 * j + i] = low;
                half |= u16::from(high) << (3 * i);
            }
            block[34 + 2 * j..][..2].copy_from_slice(&half.to_le_bytes());
        }
    }

    #[inline(always)]
    fn d(block: &[u8; BYTES]) -> [u8; 2] {
        *bytes_at(block, 0)
    }

    #[inline(always)]
    fn scales(block: &[u8; BYTES]) -> [u8; 16] {
        array::build(|k| (half_at(block, 34, k / 2) >> 12 & 7) as u8 * 2 + 1)
    }

    #[inline(always)]
    fn index(block: &[u8; BYTES], g: usize) -> usize {
        let high = usize::from(half_at(block, 34, g / 4)) >> (3 * (g % 4)) << 8 & 0x700;
        high | usize::from(block[2 + g])
    }

    #[inline(always)]
    fn marks(block: &[u8; BYTES]) -> [u64; 4] {
        let is_raised = |j: usize| u64::from(!half_at(block, 34, j) >> 15);
        array::build(|c| (is_raised(2 * c) | is_raised(2 * c + 1) << 32) * 0xffff_ffff)
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
    fn sum_avx2(block: &[u8; BYTES], y: &Q8KWindow, isa: Avx2) -> Option<__m256i> {
        // SAFETY: the proof is of the features.
        Some(unsafe { avx2::sum(block, y, isa) })
    }
}
