//! The residual stream: what the parts of all layers read and add to.

use super::Norm;
use crate::error::Result;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::Rows;
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::spec::layer::StoredScale;
use crate::model::weights::Linear;

/// The residual streams of the rows of a batch.
#[derive(Debug)]
pub(in crate::model) struct Stream {
    n_embd: usize,
    /// `[n_batch, n_embd]`.
    rows: Vec<f32>,
    /// `[n_batch, n_embd]`: what a matrix adds.
    delta: Vec<f32>,
    /// `[n_batch, n_embd]`: what a part adds, where that is normed or scaled first.
    sum: Vec<f32>,
    /// `[n_batch, n_embd]`: what one of several parts adds to such a sum, where that is normed first as well.
    nested: Vec<f32>,
    /// `[n_batch, n_embd]`: how the streams began, where layers add that again.
    kept: Vec<f32>,
}

/// Which of its buffers a stream needs beside those that every one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::model) struct StreamNeeds {
    /// Some part's [`Residual`] is not plain.
    pub(in crate::model) sums: bool,
    /// Some part is several.
    pub(in crate::model) nested: bool,
    /// Some layer adds to the stream how it began.
    pub(in crate::model) kept: bool,
}

impl StreamNeeds {
    /// These and those.
    pub(in crate::model) fn union(self, other: Self) -> Self {
        Self {
            sums: self.sums || other.sums,
            nested: self.nested || other.nested,
            kept: self.kept || other.kept,
        }
    }
}

/// What becomes of a part's output on its way into the stream.
#[derive(Debug)]
pub(in crate::model) struct Residual {
    pub(in crate::model) norm: Option<Norm>,
    /// Multiplies it after the norm.
    pub(in crate::model) scale: f32,
}

/// Where several parts add their outputs, each as a residual of its own says.
pub(in crate::model) struct Sums<'a> {
    n_embd: usize,
    /// `[n, n_embd]`.
    rows: &'a mut [f32],
    /// `[n, n_embd]`.
    nested: &'a mut [f32],
    /// `[n, n_embd]`.
    spare: &'a mut [f32],
}

/// Where a part adds its outputs.
pub(in crate::model) struct Sum<'a> {
    /// `[n, n_embd]`: the stream itself, or zeros at first.
    pub(in crate::model) rows: &'a mut [f32],
    /// `[n, n_embd]`: room for the output of a matrix.
    spare: &'a mut [f32],
}

impl Residual {
    /// Whether outputs go into the stream as they are.
    pub(in crate::model) fn is_plain(&self) -> bool {
        self.norm.is_none() && self.scale == 1.0
    }
}

impl Sum<'_> {
    /// Adds the outputs of `linear` for the rows, whose inputs are `x`.
    pub(in crate::model) fn add(&mut self, compute: Compute<'_>, linear: &Linear, x: Rows<'_>) {
        let product = Product::of(linear, x, self.spare);
        compute.multiply([product.add_to(self.rows)]);
    }

    /// Adds the outputs of `linear` for the rows, whose inputs are `x`, each times the weight of its row.
    pub(in crate::model) fn add_weighted(
        &mut self,
        compute: Compute<'_>,
        linear: &Linear,
        x: Rows<'_>,
        weight: impl Fn(usize) -> f32 + Sync,
    ) {
        compute.multiply([Product::of(linear, x, self.spare)]);
        let (n_embd, work) = (linear.matrix.n_out(), self.rows.len());
        let rows = self.rows.chunks_exact_mut(n_embd).zip(self.spare.chunks_exact(n_embd)).enumerate();
        compute.for_each(work, rows, |(row, (sum, output))| {
            compute.kernels.ops().add_scaled(sum, weight(row), output);
        });
    }

    /// Its rows, to be divided between threads.
    pub(in crate::model) fn rows_mut(&mut self, n_embd: usize) -> RowsMut<'_, f32> {
        RowsMut { values: self.rows, width: n_embd }
    }
}

impl Stream {
    /// Room for `n_batch` rows.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        n_batch: usize,
        n_embd: usize,
        needs: StreamNeeds,
    ) -> Result<Self> {
        let mut rows_if = |wanted| buffers.zeroed(0.0, if wanted { n_batch } else { 0 }, n_embd);
        Ok(Self {
            n_embd,
            rows: rows_if(true)?,
            delta: rows_if(true)?,
            sum: rows_if(needs.sums || needs.nested)?,
            nested: rows_if(needs.nested)?,
            kept: rows_if(needs.kept)?,
        })
    }

    /// The first `n` rows, `[n, n_embd]`.
    pub(in crate::model) fn rows(&self, n: usize) -> &[f32] {
        &self.rows[..n * self.n_embd]
    }

    /// The first `n` rows, to be written.
    pub(in crate::model) fn rows_mut(&mut self, n: usize) -> RowsMut<'_, f32> {
        RowsMut { values: &mut self.rows[..n * self.n_embd], width: self.n_embd }
    }

    /// Norms the first `n` rows where they are.
    pub(in crate::model) fn norm(&mut self, compute: Compute<'_>, n: usize, norm: &Norm) {
        let n_embd = self.n_embd;
        let piece_len = compute.piece_len(n, 4 * n_embd);
        let rows = RowsMut { values: &mut self.rows[..n * n_embd], width: n_embd };
        let spare = RowsMut { values: &mut self.delta[..n * n_embd], width: n_embd };
        let parts = pieces(rows, piece_len).zip(pieces(spare, piece_len));
        let ops = compute.kernels.ops();
        compute.for_each(4 * n * n_embd, parts, |(rows, spare): (RowsMut<'_, f32>, RowsMut<'_, f32>)| {
            norm.in_place(ops, rows.values, spare.values);
        });
    }

    /// Moves row `from` to row `to`.
    pub(in crate::model) fn move_row(&mut self, from: usize, to: usize) {
        let (from, to) = (from * self.n_embd..(from + 1) * self.n_embd, to * self.n_embd);
        if !self.kept.is_empty() {
            self.kept.copy_within(from.clone(), to);
        }
        self.rows.copy_within(from, to);
    }

    /// Keeps how the first `n` rows begin, if a layer needs it.
    pub(in crate::model) fn keep(&mut self, n: usize) {
        if !self.kept.is_empty() {
            self.kept[..n * self.n_embd].copy_from_slice(&self.rows[..n * self.n_embd]);
        }
    }

    /// Multiplies the first `n` rows with a stored number, or adds how they began, multiplied with it.
    pub(in crate::model) fn scale(
        &mut self,
        compute: Compute<'_>,
        n: usize,
        (of, scale): (StoredScale, f32),
    ) {
        let rows = &mut self.rows[..n * self.n_embd];
        match of {
            StoredScale::Stream => rows.iter_mut().for_each(|x| *x *= scale),
            StoredScale::Embedding => {
                compute.kernels.ops().add_scaled(rows, scale, &self.kept[..n * self.n_embd]);
            }
        }
    }

    /// Has `part` add its outputs for the first `n` rows, which reach them as `residual` says.
    pub(in crate::model) fn add(
        &mut self,
        compute: Compute<'_>,
        n: usize,
        residual: &Residual,
        part: impl FnOnce(Sum<'_>),
    ) {
        let range = 0..n * self.n_embd;
        let spare = &mut self.delta[range.clone()];
        if residual.is_plain() {
            return part(Sum { rows: &mut self.rows[range], spare });
        }
        let sum = &mut self.sum[range.clone()];
        sum.fill(0.0);
        part(Sum { rows: sum, spare: &mut *spare });
        settle(compute, residual, (sum, self.n_embd), spare, &mut self.rows[range]);
    }

    /// As [`Stream::add`], for several parts; there is room for it if that was asked for.
    pub(in crate::model) fn add_all(
        &mut self,
        compute: Compute<'_>,
        n: usize,
        residual: &Residual,
        parts: impl FnOnce(&mut Sums<'_>),
    ) {
        let range = 0..n * self.n_embd;
        let spare = &mut self.delta[range.clone()];
        let sum = &mut self.sum[range.clone()];
        sum.fill(0.0);
        let nested = &mut self.nested[range.clone()];
        parts(&mut Sums { n_embd: self.n_embd, rows: &mut *sum, nested, spare: &mut *spare });
        settle(compute, residual, (sum, self.n_embd), spare, &mut self.rows[range]);
    }
}

impl Sums<'_> {
    /// Has `part` add its outputs, which reach the sum as `residual` says.
    pub(in crate::model) fn add(
        &mut self,
        compute: Compute<'_>,
        residual: &Residual,
        part: impl FnOnce(Sum<'_>),
    ) {
        self.nested.fill(0.0);
        part(Sum { rows: &mut *self.nested, spare: &mut *self.spare });
        settle(compute, residual, (self.nested, self.n_embd), self.spare, self.rows);
    }
}

/// Adds `from: [n, n_embd]` to `to` as `residual` says; `spare` is as long.
fn settle(
    compute: Compute<'_>,
    residual: &Residual,
    (from, n_embd): (&mut [f32], usize),
    spare: &mut [f32],
    to: &mut [f32],
) {
    let n = to.len() / n_embd;
    let piece_len = compute.piece_len(n, 4 * n_embd);
    let of = |values| pieces(RowsMut { values, width: n_embd }, piece_len);
    let parts = of(to).zip(of(from)).zip(of(spare));
    let ops = compute.kernels.ops();
    type Part<'a> = ((RowsMut<'a, f32>, RowsMut<'a, f32>), RowsMut<'a, f32>);
    compute.for_each(4 * n * n_embd, parts, |((to, from), spare): Part<'_>| {
        for (to, from) in to.values.chunks_exact_mut(n_embd).zip(from.values.chunks_exact_mut(n_embd)) {
            if let Some(norm) = &residual.norm {
                norm.in_place(ops, from, spare.values);
            }
            if residual.scale == 1.0 {
                ops.add(to, from);
            } else {
                ops.add_scaled(to, residual.scale, from);
            }
        }
    });
}
