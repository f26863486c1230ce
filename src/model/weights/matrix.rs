//! Weight matrices.

use std::ops::Range;

use gguf_simd::BlockType;

use super::TensorSource;

/// A matrix `[n_out, n_in]`; a stack of experts is one matrix, their rows one after the other.
#[derive(Clone, Debug)]
pub(in crate::model) struct Matrix {
    source: TensorSource,
    offset: usize,
    row_bytes: usize,
    block_type: BlockType,
    n_out: usize,
    n_in: usize,
}

/// Some rows of a [`Matrix`].
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct MatrixRows<'a> {
    /// The rows, whole blocks one after the other.
    pub(in crate::model) bytes: &'a [u8],
    pub(in crate::model) block_type: BlockType,
    pub(in crate::model) n_in: usize,
    row_bytes: usize,
    /// Where they are in the file, if they are in one.
    offset: Option<usize>,
}

impl Matrix {
    /// The matrix of `shape = [n_out, n_in]` at `offset` of `source`; `None` if its rows are
    /// not whole blocks or it does not lie inside.
    pub(in crate::model) fn new(
        source: TensorSource,
        offset: u64,
        block_type: BlockType,
        [n_out, n_in]: [usize; 2],
    ) -> Option<Self> {
        let offset = usize::try_from(offset).ok()?;
        let row_bytes = block_type.row_bytes(n_in)?;
        let end = row_bytes.checked_mul(n_out)?.checked_add(offset)?;
        (end <= source.bytes().len()).then(|| Self { source, offset, row_bytes, block_type, n_out, n_in })
    }

    /// Some of its rows, as a matrix of their own.
    ///
    /// # Panics
    /// If they do not all exist.
    pub(in crate::model) fn slice(&self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.n_out, "rows {rows:?} of {}", self.n_out);
        let offset = self.offset + rows.start * self.row_bytes;
        Self { offset, n_out: rows.len(), ..self.clone() }
    }

    /// The type of its blocks.
    pub(in crate::model) fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// Rows: elements of its output.
    pub(in crate::model) fn n_out(&self) -> usize {
        self.n_out
    }

    /// Elements of a row: of its input.
    pub(in crate::model) fn n_in(&self) -> usize {
        self.n_in
    }

    /// The bytes of all its rows in the file; `None` if they are in no file.
    pub(in crate::model) fn file_span(&self) -> Option<Range<usize>> {
        self.file_span_of(0..self.n_out)
    }

    /// The bytes of some of its rows in the file; `None` if they are in no file.
    pub(in crate::model) fn file_span_of(&self, rows: Range<usize>) -> Option<Range<usize>> {
        self.source.file_span(self.span(&rows))
    }

    /// Bytes of all its rows, if they are in no file.
    pub(in crate::model) fn owned_bytes(&self) -> usize {
        if self.file_span().is_none() { self.n_out * self.row_bytes } else { 0 }
    }

    /// The bytes of some of its rows in the source.
    fn span(&self, rows: &Range<usize>) -> Range<usize> {
        self.offset + rows.start * self.row_bytes..self.offset + rows.end * self.row_bytes
    }

    /// Some of its rows.
    ///
    /// # Panics
    /// If they do not all exist.
    pub(in crate::model) fn rows(&self, rows: Range<usize>) -> MatrixRows<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.n_out, "rows {rows:?} of {}", self.n_out);
        let bytes = &self.source.bytes()[self.span(&rows)];
        let offset = self.file_span_of(rows).map(|span| span.start);
        MatrixRows { bytes, block_type: self.block_type, n_in: self.n_in, row_bytes: self.row_bytes, offset }
    }

    /// All its rows.
    pub(in crate::model) fn all(&self) -> MatrixRows<'_> {
        self.rows(0..self.n_out)
    }
}

impl MatrixRows<'_> {
    /// Their bytes in the file; `None` if they are in no file.
    pub(in crate::model) fn file_span(&self) -> Option<Range<usize>> {
        self.offset.map(|start| start..start + self.bytes.len())
    }

    /// Rows `0..row` and rows `row..`.
    pub(in crate::model) fn split_at(self, row: usize) -> (Self, Self) {
        let (before, after) = self.bytes.split_at(row * self.row_bytes);
        (
            Self { bytes: before, ..self },
            Self { bytes: after, offset: self.offset.map(|start| start + before.len()), ..self },
        )
    }
}
