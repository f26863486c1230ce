//! Codes of four bits that name the numbers of a table, with a scale for every block: bitsandbytes' NF4 and FP4.

use std::path::Path;

use super::{Levels, Packed, Scratch, Step, read_floats};
use crate::checkpoint::TensorView;
use crate::error::Result;

/// A matrix whose elements, row after row, are codes: two in a byte, the first in the high half.
#[derive(Debug)]
pub(super) struct LookedUp<'a> {
    pub(super) scheme: &'static str,
    pub(super) codes: TensorView<'a>,
    /// `[n_out, n_in]`
    pub(super) shape: Vec<usize>,
    /// The number of each code.
    pub(super) table: [f32; 16],
    /// Elements that share a scale.
    pub(super) block_len: usize,
    pub(super) scales: Scales<'a>,
}

/// The scale of each block.
#[derive(Debug)]
pub(super) enum Scales<'a> {
    Plain(TensorView<'a>),
    /// Codes of eight bits that name the numbers of a table themselves: `table[code] * scale + offset`, with a scale
    /// for every block of blocks.
    Nested {
        codes: TensorView<'a>,
        table: Vec<f32>,
        block_len: usize,
        scales: Vec<f32>,
        offset: f32,
    },
}

impl Scales<'_> {
    /// Reads the scales of blocks `first..`.
    fn read(&self, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Plain(view) => read_floats(view, first, out, bytes)?,
            Self::Nested { codes, table, block_len, scales, offset } => {
                bytes.resize(out.len(), 0);
                codes.read_at(first as u64, bytes)?;
                for (i, (out, code)) in out.iter_mut().zip(bytes.iter()).enumerate() {
                    *out = table[usize::from(*code)] * scales[(first + i) / block_len] + offset;
                }
            }
        }
        Ok(())
    }
}

impl Packed for LookedUp<'_> {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.codes.path()
    }

    fn n_bytes(&self) -> u64 {
        let (Scales::Plain(view) | Scales::Nested { codes: view, .. }) = &self.scales;
        self.codes.n_bytes + view.n_bytes
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let first = first * self.shape[self.shape.len() - 1];
        let Scratch { bytes, scales, .. } = scratch;
        // Blocks and bytes may begin before the first element and end after the last.
        let (start, end) = (first / self.block_len, (first + out.len()).div_ceil(self.block_len));
        scales.resize(end - start, 0.0);
        self.scales.read(start, scales, bytes)?;
        let from = first / 2;
        bytes.resize((first + out.len()).div_ceil(2) - from, 0);
        self.codes.read_at(from as u64, bytes)?;
        for (i, out) in out.iter_mut().enumerate() {
            let at = first + i;
            let byte = bytes[at / 2 - from];
            let code = if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            *out = self.table[usize::from(code)] * scales[at / self.block_len - start];
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }
}
