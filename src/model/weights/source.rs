//! Where the bytes of matrices are.

use std::ops::Range;
use std::sync::Arc;

use gguf_simd::BlockType;

use crate::mapped_file::MappedFile;

/// Bytes that matrices are made from.
#[derive(Clone, Debug)]
pub(in crate::model) enum TensorSource {
    /// A mapped file, in place.
    Mapped(Arc<MappedFile>),
    /// Memory of the program's own: weights that no file holds in the form that products need.
    Owned(Arc<Vec<u8>>),
}

impl TensorSource {
    /// All of them.
    pub(in crate::model) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file.bytes(),
            Self::Owned(bytes) => bytes,
        }
    }

    /// The bytes of the file that lie at `span`; `None` if they are in no file.
    pub(in crate::model) fn file_span(&self, span: Range<usize>) -> Option<Range<usize>> {
        matches!(self, Self::Mapped(_)).then_some(span)
    }
}

/// Blocks that take the place of a matrix.
#[derive(Clone, Debug)]
pub struct NewBlocks {
    /// Their type.
    pub block_type: BlockType,
    /// All rows.
    pub bytes: Arc<Vec<u8>>,
}
