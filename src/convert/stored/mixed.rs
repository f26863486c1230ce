//! Codes of several widths in one matrix, whose inputs are in an order of their own: EXL2.
//!
//! Source: exllamav2, `q_matrix.cu` and `pack_tensor.cu`. Groups of inputs follow each other, each with its number of bits;
//! the codes of an output are a run of bits, the lowest first. A group's scale is `(c + 1)^2 max / 256`, where `c` is
//! a code of four bits for each output and `max` the group's. Such weights lie on no grid that blocks have: inputs that
//! share a scale are far from each other.

use std::path::Path;

use super::{Levels, Packed, Scratch, Step};
use crate::checkpoint::TensorView;
use crate::error::Result;

/// A matrix `w = (q - 2^(bits - 1)) s`.
#[derive(Debug)]
pub(super) struct Mixed<'a> {
    /// `[n_out, n_in]`
    pub(super) shape: [usize; 2],
    /// `[n_words, n_out]`
    pub(super) codes: TensorView<'a>,
    /// `[n_groups, n_out / 8]`: words of eight codes.
    pub(super) scales: TensorView<'a>,
    pub(super) groups: Vec<Group>,
    /// `[n_in]`: the input that each of the matrix is.
    pub(super) order: Vec<usize>,
}

/// Inputs that follow each other and share a scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) bits: usize,
    /// Where its words begin.
    pub(super) first_word: usize,
    pub(super) n_words: usize,
    /// Its first input and their number.
    pub(super) first: usize,
    pub(super) n: usize,
    pub(super) greatest_scale: f32,
}

impl Packed for Mixed<'_> {
    fn scheme(&self) -> &'static str {
        "EXL2"
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.codes.path()
    }

    fn n_bytes(&self) -> u64 {
        self.codes.n_bytes + self.scales.n_bytes
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let [n_out, n_in] = self.shape;
        let n = out.len() / n_in;
        let Scratch { bytes, scales, .. } = scratch;
        for (g, group) in self.groups.iter().enumerate() {
            let words = first / 8..(first + n).div_ceil(8);
            bytes.resize(4 * words.len(), 0);
            self.scales.read_at(4 * (g * (n_out / 8) + words.start) as u64, bytes)?;
            scales.clear();
            scales.extend((first..first + n).map(|row| {
                let byte = bytes[row / 2 - 4 * words.start];
                let code = f32::from(if row.is_multiple_of(2) { byte & 15 } else { byte >> 4 });
                (code + 1.0) * (code + 1.0) * group.greatest_scale
            }));
            bytes.resize(4 * n * group.n_words, 0);
            for (i, row) in bytes.chunks_exact_mut(4 * n).enumerate() {
                self.codes.read_at(4 * ((group.first_word + i) * n_out + first) as u64, row)?;
            }
            let word = |i: usize, row: usize| -> u64 {
                let at = 4 * (i * n + row);
                bytes
                    .get(at..at + 4)
                    .map_or(0, |word| u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])))
            };
            let centre = (1_u32 << (group.bits - 1)) as f32;
            for j in 0..group.n {
                let (at, shift) = (j * group.bits / 32, j * group.bits % 32);
                let column = self.order[group.first + j];
                for (row, scale) in scales.iter().enumerate() {
                    let pair = word(at, row) | word(at + 1, row) << 32;
                    let code = (pair >> shift) as u32 & ((1 << group.bits) - 1);
                    out[row * n_in + column] = (code as f32 - centre) * scale;
                }
            }
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }
}
