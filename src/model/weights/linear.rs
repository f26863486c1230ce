//! Matrices with what belongs to their products: biases, scales and what adapters add.

use std::ops::Range;

use super::{Added, LowRank, Matrix, MatrixRows};

/// A matrix, the bias it may have, and what its product may be multiplied with before.
#[derive(Debug)]
pub(in crate::model) struct Linear {
    pub(in crate::model) matrix: Matrix,
    /// `[n_out]`.
    pub(in crate::model) bias: Option<Vec<f32>>,
    pub(in crate::model) scale: Option<f32>,
    pub(in crate::model) added: Vec<LowRank>,
}

/// A matrix for each of several experts: the rows `first..first + n_out` of every `stride` rows of one
/// matrix.
#[derive(Debug)]
pub(in crate::model) struct Stack {
    pub(in crate::model) matrix: Matrix,
    pub(in crate::model) n_out: usize,
    pub(in crate::model) first: usize,
    pub(in crate::model) stride: usize,
    /// `[n_expert, n_out]`.
    pub(in crate::model) bias: Option<Vec<f32>>,
    /// `[n_expert]`.
    pub(in crate::model) scale: Option<Vec<f32>>,
    pub(in crate::model) added: Vec<LowRank>,
}

impl Linear {
    /// A matrix alone.
    pub(in crate::model) fn plain(matrix: Matrix) -> Self {
        Self { matrix, bias: None, scale: None, added: Vec::new() }
    }

    /// Some of its rows, as a part of their own.
    ///
    /// # Panics
    /// If they do not all exist.
    pub(in crate::model) fn slice(&self, rows: Range<usize>) -> Self {
        let bias = self.bias.as_ref().map(|bias| bias[rows.clone()].to_vec());
        let added = self.added.iter().map(|part| part.starting_at(rows.start)).collect();
        Self { matrix: self.matrix.slice(rows), bias, scale: self.scale, added }
    }

    /// What is added to its product.
    pub(in crate::model) fn added(&self) -> Option<Added<'_>> {
        (!self.added.is_empty()).then_some(Added { parts: &self.added, expert: 0, row: 0 })
    }
}

impl Stack {
    /// Matrices of `n_out` rows that follow one another, alone.
    pub(in crate::model) fn plain(matrix: Matrix, n_out: usize) -> Self {
        Self { matrix, n_out, first: 0, stride: n_out, bias: None, scale: None, added: Vec::new() }
    }

    fn rows_of(&self, expert: usize) -> Range<usize> {
        let start = expert * self.stride + self.first;
        start..start + self.n_out
    }

    /// The matrix of an expert.
    pub(in crate::model) fn expert(&self, expert: usize) -> MatrixRows<'_> {
        self.matrix.rows(self.rows_of(expert))
    }

    /// The bias of an expert.
    pub(in crate::model) fn expert_bias(&self, expert: usize) -> Option<&[f32]> {
        Some(&self.bias.as_deref()?[expert * self.n_out..][..self.n_out])
    }

    /// What is added to the product of an expert.
    pub(in crate::model) fn expert_added(&self, expert: usize) -> Option<Added<'_>> {
        (!self.added.is_empty()).then_some(Added { parts: &self.added, expert, row: self.first })
    }

    /// What the product of an expert is multiplied with.
    pub(in crate::model) fn expert_scale(&self, expert: usize) -> Option<f32> {
        Some(self.scale.as_deref()?[expert])
    }

    /// The bytes of an expert's matrix in the file; `None` if they are in no file.
    pub(in crate::model) fn file_span_of(&self, expert: usize) -> Option<Range<usize>> {
        self.matrix.file_span_of(self.rows_of(expert))
    }

    /// Whether the two are parts of one matrix.
    pub(in crate::model) fn is_of_one_matrix_with(&self, other: &Self) -> bool {
        self.matrix.all().bytes.as_ptr_range() == other.matrix.all().bytes.as_ptr_range()
    }
}
