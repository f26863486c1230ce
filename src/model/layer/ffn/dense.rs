//! The plain feed-forward part: `down(activation(up(x)))`.

use gguf_simd::ops::Gate;

use super::gated::GatedScratch;
use crate::model::compute::Compute;
use crate::model::inputs::{Formats, Inputs};
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
    /// Computes the part's hidden rows for the first `n` rows of `input`.
    pub(super) fn hide(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut GatedScratch) {
        let n_ff = self.up.matrix.n_out();
        let up = &mut scratch.up[..n * n_ff];
        compute.multiply([Product::of(&self.up, input.for_consumer(&self.up.matrix, 0..n), up)]);
        scratch.activate_alone(compute, (self.activation, n_ff), Formats::of([&self.down.matrix]), n);
    }

    /// Adds the part's output for the first `n` rows of `input` to `sum`.
    pub(super) fn step(
        &self,
        compute: Compute<'_>,
        input: &Inputs,
        n: usize,
        scratch: &mut GatedScratch,
        mut sum: Sum<'_>,
    ) {
        self.hide(compute, input, n, scratch);
        sum.add(compute, &self.down, scratch.hidden.for_consumer(&self.down.matrix, 0..n));
    }
}
