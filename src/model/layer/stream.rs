//! The residual stream: what the parts of all layers read and add to.

use crate::error::Result;
use crate::model::compute::{Compute, RowsMut};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::weights::Linear;

use gguf_simd::Activation;

/// The residual streams of the rows of a batch.
#[derive(Debug)]
pub(in crate::model) struct Stream {
    n_embd: usize,
    /// `[n_batch, n_embd]`.
    rows: Vec<f32>,
    /// `[n_batch, n_embd]`: what a part adds.
    delta: Vec<f32>,
}

impl Stream {
    /// Room for `n_batch` rows.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(buffers: &mut Buffers, n_batch: usize, n_embd: usize) -> Result<Self> {
        let mut rows = || buffers.zeroed(0.0, n_batch, n_embd);
        Ok(Self { n_embd, rows: rows()?, delta: rows()? })
    }

    /// Elements of a row.
    pub(in crate::model) fn n_embd(&self) -> usize {
        self.n_embd
    }

    /// The first `n` rows, `[n, n_embd]`.
    pub(in crate::model) fn rows(&self, n: usize) -> &[f32] {
        &self.rows[..n * self.n_embd]
    }

    /// The first `n` rows, to be written.
    pub(in crate::model) fn rows_mut(&mut self, n: usize) -> RowsMut<'_, f32> {
        RowsMut { values: &mut self.rows[..n * self.n_embd], width: self.n_embd }
    }

    /// Moves row `from` to row `to`.
    pub(in crate::model) fn move_row(&mut self, from: usize, to: usize) {
        self.rows.copy_within(from * self.n_embd..(from + 1) * self.n_embd, to * self.n_embd);
    }

    /// Adds the outputs of `linear` for the first `n` rows, whose inputs are `x`.
    pub(in crate::model) fn add(
        &mut self,
        compute: Compute<'_>,
        linear: &Linear,
        x: Activation<'_>,
        n: usize,
    ) {
        let rows = 0..n * self.n_embd;
        let product = Product::of(linear, x, &mut self.delta[rows.clone()]);
        compute.multiply([product.add_to(&mut self.rows[rows])]);
    }
}
