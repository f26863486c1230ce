//! Products of low rank, which adapters add to those of a model's matrices.

use std::ops::Range;

use gguf_simd::{Activation, BlockType, Kernels};

use super::{Matrix, MatrixRows};

/// The highest rank; the inner product of a token lives on the stack.
pub(in crate::model) const MAX_RANK: usize = 1024;

/// Rows of the outer matrix multiplied at a time.
const ROWS: usize = 64;

/// `scale b (a x)`, or one for each of several experts.
///
/// `a` and `b` hold floats: their products take activations as they are, in an order that [`Kernels`] fix, so that a
/// token gets the same bits whatever is computed beside it, and by how many threads.
#[derive(Clone, Debug)]
pub(in crate::model) struct LowRank {
    /// `[n_expert * rank, n_in]`
    pub(in crate::model) a: Matrix,
    /// `[n_expert * stride, rank]`
    pub(in crate::model) b: Matrix,
    pub(in crate::model) rank: usize,
    pub(in crate::model) scale: f32,
    /// Rows of `b` from an expert to the next, and its first that counts.
    pub(in crate::model) stride: usize,
    pub(in crate::model) first: usize,
}

/// What is added to some rows of a product.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Added<'a> {
    pub(in crate::model) parts: &'a [LowRank],
    pub(in crate::model) expert: usize,
    /// The first of the rows.
    pub(in crate::model) row: usize,
}

impl LowRank {
    /// The same from row `row` on.
    pub(in crate::model) fn starting_at(&self, row: usize) -> Self {
        Self { first: self.first + row, ..self.clone() }
    }

    /// Adds `scale b hidden` to `out`, of which the first is row `row` of an expert.
    fn add_outer(&self, kernels: &Kernels, hidden: &[f32], (expert, row): (usize, usize), out: &mut [f32]) {
        let start = expert * self.stride + self.first + row;
        for (i, out) in out.chunks_mut(ROWS).enumerate() {
            let first = start + i * ROWS;
            let mut sums = [0.0; ROWS];
            let sums = &mut sums[..out.len()];
            multiply(kernels, self.b.rows(first..first + out.len()), hidden, sums);
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out += self.scale * *sum);
        }
    }

    /// Adds what `a` holds of a token, its row `id`, to the token's row of an embedding.
    pub(in crate::model) fn add_to_embedding(&self, kernels: &Kernels, id: usize, out: &mut [f32]) {
        let mut hidden = [0.0; MAX_RANK];
        let hidden = &mut hidden[..self.rank];
        let row = self.a.rows(id..id + 1);
        kernels.decode(row.block_type, row.bytes, hidden);
        self.add_outer(kernels, hidden, (0, 0), out);
    }
}

impl Added<'_> {
    /// The same from row `row` on.
    pub(in crate::model) fn starting_at(self, row: usize) -> Self {
        Self { row: self.row + row, ..self }
    }

    /// Adds all parts for one token's `x: [n_in]` to its `out`.
    pub(in crate::model) fn add(self, kernels: &Kernels, x: &[f32], out: &mut [f32]) {
        for part in self.parts {
            let mut hidden = [0.0; MAX_RANK];
            let hidden = &mut hidden[..part.rank];
            let rows: Range<usize> = self.expert * part.rank..(self.expert + 1) * part.rank;
            multiply(kernels, part.a.rows(rows), x, hidden);
            part.add_outer(kernels, hidden, (self.expert, self.row), out);
        }
    }
}

/// `out = rows x`
fn multiply(kernels: &Kernels, rows: MatrixRows<'_>, x: &[f32], out: &mut [f32]) {
    kernels.gemv(rows.block_type, rows.bytes, rows.n_in, Activation::F32(x), out);
}

/// Whether products of a type take activations as they are.
pub(in crate::model) fn takes_floats(ty: BlockType) -> bool {
    ty.activation() == gguf_simd::ActivationFormat::F32
}
