//! Rows of a GGUF file: blocks of some type, one row after the other.

use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;

use crate::error::Result;
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
    /// The type of its blocks.
    pub(super) block_type: BlockType,
}

impl Blocks<'_> {
    /// Bytes of `n_elements`, which are whole blocks.
    pub(super) fn n_bytes(&self, n_elements: usize) -> usize {
        n_elements / self.block_type.block_len() * self.block_type.block_bytes()
    }

    /// Reads blocks from element `first` on, where one begins.
    ///
    /// # Errors
    /// As [`ReadFile::read_at`].
    pub(super) fn read(&self, first: usize, out: &mut [u8]) -> Result<()> {
        self.file.read_at(self.offset + self.n_bytes(first) as u64, out)
    }

    /// Decodes elements from `first` on, where a block begins, as many as `out` holds, which are whole blocks.
    ///
    /// # Errors
    /// As [`ReadFile::read_at`].
    pub(super) fn decode(&self, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize(self.n_bytes(out.len()), 0);
        self.read(first, bytes)?;
        // Whatever the tier, the bits are the same.
        Kernels::best().decode(self.block_type, bytes, out);
        Ok(())
    }
}
