//! The plain feed-forward part: `down(activation(up(x)))`.

use gguf_simd::ops::Gate;

use super::gated::GatedScratch;
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::stream::Sum;
use crate::model::product::Product;
use crate::model::weights::Linear;

/// A plain part.
#[derive(Debug)]
pub(in crate::model) struct Dense {
    pub(in crate::model) activation: Gate,
    /// `[n_ff, n_embd]`.
    pub(in crate::model) up: Linear,
    /// `[n_embd, n_ff]`.
    pub(in crate::model) down: Linear,
}

impl Dense {
    /// Adds the part's output for the first `n` rows of `input` to `sum`.
    pub(super) fn step(
        &self,
        compute: Compute<'_>,
        input: &Inputs,
        n: usize,
        scratch: &mut GatedScratch,
        mut sum: Sum<'_>,
    ) {
        let n_ff = self.up.matrix.n_out();
        let up = &mut scratch.up[..n * n_ff];
        compute.multiply([Product::of(&self.up, input.for_consumer(&self.up.matrix, 0..n), up)]);
        let down = &self.down.matrix;
        let formats = Formats::of([down]);
        scratch.hidden.set_n_in(n_ff);
        let up = &scratch.up;
        // An exponential and a quantisation take about as long as 16 multiply-adds of a matrix.
        let piece_len = compute.piece_len(n, 16 * n_ff);
        let parts = pieces(scratch.hidden.rows_mut(0..n), piece_len).enumerate();
        compute.for_each(16 * n * n_ff, parts, |(i, mut rows): (usize, InputRows<'_>)| {
            rows.for_each(formats, |row, out| {
                let up = &up[(i * piece_len + row) * n_ff..][..n_ff];
                compute.kernels.activated(self.activation, up, out);
            });
        });
        sum.add(compute, &self.down, scratch.hidden.for_consumer(down, 0..n));
    }
}
