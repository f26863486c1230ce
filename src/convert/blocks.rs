//! Rows of a GGUF file: blocks of some type, one row after the other.

use gguf_simd::kernels::Kernels;

use crate::error::Result;
use crate::gguf::{GgmlType, floats_of_f64s};
use crate::read_file::ReadFile;

/// The blocks of a tensor.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    /// The file.
    pub(super) file: &'a ReadFile,
    /// The tensor's name in it.
    pub(super) name: &'a str,
    /// Where its first block is.
    pub(super) offset: u64,
    /// Its type, whose blocks are known.
    pub(super) ty: GgmlType,
    /// Whether it is copied as it is, of a type that nothing computes with.
    pub(super) is_copied: bool,
}

impl Blocks<'_> {
    /// Bytes of `n_elements`, which are whole blocks.
    pub(super) fn n_bytes(&self, n_elements: usize) -> usize {
        let block = self.ty.block().expect("other types are refused");
        n_elements / block.len * block.bytes
    }

    /// Reads blocks from element `first` on, where one begins.
    ///
    /// # Errors
    /// As [`ReadFile::read_at`].
    pub(super) fn read(&self, first: usize, out: &mut [u8]) -> Result<()> {
        self.file.read_at(self.offset + self.n_bytes(first) as u64, out)
    }

    /// Whether they are numbers to compute with, and not only to be copied.
    pub(super) fn are_weights(&self) -> bool {
        !self.is_copied && self.ty.weights().is_some()
    }

    /// Decodes elements from `first` on, where a block begins, as many as `out` holds, which are whole blocks. What is
    /// only to be copied counts as zeros.
    ///
    /// # Errors
    /// As [`ReadFile::read_at`].
    pub(super) fn decode(&self, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        if !self.are_weights() {
            out.fill(0.0);
            return Ok(());
        }
        bytes.resize(self.n_bytes(out.len()), 0);
        self.read(first, bytes)?;
        let Some(block_type) = self.ty.block_type() else {
            floats_of_f64s(bytes, out);
            return Ok(());
        };
        // Whatever the tier, the bits are the same.
        Kernels::best().decode(block_type, bytes, out);
        Ok(())
    }
}
