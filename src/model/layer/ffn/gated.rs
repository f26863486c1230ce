//! The gated feed-forward part: `down(activation(gate(x)) * up(x))`.

use crate::error::Result;
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::stream::Sum;
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::weights::{Linear, Matrix};
use gguf_simd::ops::Gate;

/// A gated part.
#[derive(Debug)]
pub(in crate::model) struct Gated {
    pub(in crate::model) activation: Gate,
    /// `[n_ff, n_embd]`.
    pub(in crate::model) gate: Linear,
    /// `[n_ff, n_embd]`.
    pub(in crate::model) up: Linear,
    /// `[n_embd, n_ff]`.
    pub(in crate::model) down: Linear,
}

/// The buffers of a gated part.
#[derive(Debug)]
pub(in crate::model) struct GatedScratch {
    /// `[n_rows, n_ff]`.
    pub(super) gate: Vec<f32>,
    /// `[n_rows, n_ff]`.
    pub(super) up: Vec<f32>,
    /// `[n_rows, n_ff]`: their product, input of the down matrix.
    pub(super) hidden: Inputs,
}

impl GatedScratch {
    /// Buffers of `n_rows` rows of up to `n_ff` elements, with the hidden rows in `formats`.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(buffers: &mut Buffers, n_rows: usize, n_ff: usize, formats: Formats) -> Result<Self> {
        Ok(Self {
            gate: buffers.zeroed(0.0, n_rows, n_ff)?,
            up: buffers.zeroed(0.0, n_rows, n_ff)?,
            hidden: Inputs::new(buffers, n_rows, n_ff, formats)?,
        })
    }

    /// Combines the first `n_rows` rows of gate and up, `n_ff` elements each, and quantises the result into
    /// `formats`.
    pub(super) fn activate(
        &mut self,
        compute: Compute<'_>,
        (activation, n_ff): (Gate, usize),
        formats: Formats,
        n_rows: usize,
    ) {
        self.hidden.set_n_in(n_ff);
        // An exponential and a quantisation take about as long as 16 multiply-adds of a matrix.
        let piece_len = compute.piece_len(n_rows, 16 * n_ff);
        let (gate, up) = (&self.gate, &self.up);
        let parts = pieces(self.hidden.rows_mut(0..n_rows), piece_len).enumerate();
        compute.for_each(16 * n_rows * n_ff, parts, |(i, mut rows): (usize, InputRows<'_>)| {
            rows.for_each(formats, |row, out| {
                let first = (i * piece_len + row) * n_ff;
                let values = first..first + n_ff;
                compute.kernels.gated(activation, &gate[values.clone()], &up[values], out);
            });
        });
    }
}

impl Gated {
    /// The formats its input is needed in.
    pub(super) fn input_formats(&self) -> Formats {
        Formats::of([&self.gate.matrix, &self.up.matrix])
    }

    /// Its matrices.
    pub(super) fn matrices(&self) -> [&Matrix; 3] {
        [&self.gate, &self.up, &self.down].map(|linear| &linear.matrix)
    }

    /// Width of the part.
    fn n_ff(&self) -> usize {
        self.up.matrix.n_out()
    }

    /// Computes the part's hidden rows for the first `n` rows of `input`.
    pub(super) fn hide(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut GatedScratch) {
        let n_ff = self.n_ff();
        let of = |linear: &'_ Linear| input.for_consumer(&linear.matrix, 0..n);
        compute.multiply([
            Product::of(&self.gate, of(&self.gate), &mut scratch.gate[..n * n_ff]),
            Product::of(&self.up, of(&self.up), &mut scratch.up[..n * n_ff]),
        ]);
        scratch.activate(compute, (self.activation, n_ff), Formats::of([&self.down.matrix]), n);
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
