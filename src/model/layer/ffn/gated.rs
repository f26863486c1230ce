//! The gated feed-forward part: `down(activation(gate(x)) * up(x))`.

use gguf_simd::ops::Gate;

use crate::error::Result;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::stream::Sum;
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::weights::{Linear, Matrix};

/// Multiply-adds of a matrix that take as long as an exponential and a quantisation.
const ROW_WORK: usize = 16;

/// A gated part.
#[derive(Debug)]
pub(in crate::model) struct Gated {
    pub(in crate::model) hiding: Hiding,
    /// `[n_ff, n_embd]`.
    pub(in crate::model) gate: Linear,
    /// `[n_ff, n_embd]`.
    pub(in crate::model) up: Linear,
    /// `[n_embd, n_ff]`.
    pub(in crate::model) down: Linear,
}

/// How gates and the rest become what the last matrix gets.
#[derive(Debug)]
pub(in crate::model) struct Hiding {
    pub(in crate::model) activation: Gate,
    /// Standard deviations above their mean that gates must be to count.
    pub(in crate::model) cutoff: Option<f32>,
    /// `[n_ff]`: of the product.
    pub(in crate::model) norm: Option<Norm>,
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
        let piece_len = compute.piece_len(n_rows, ROW_WORK * n_ff);
        let (gate, up) = (&self.gate, &self.up);
        let parts = pieces(self.hidden.rows_mut(0..n_rows), piece_len).enumerate();
        compute.for_each(ROW_WORK * n_rows * n_ff, parts, |(i, mut rows): (usize, InputRows<'_>)| {
            rows.for_each(formats, |row, out| {
                let first = (i * piece_len + row) * n_ff;
                let values = first..first + n_ff;
                compute.kernels.gated(activation, &gate[values.clone()], &up[values], out);
            });
        });
    }

    /// Makes hidden rows of the first `n_rows` rows of up alone, `n_ff` elements each, and quantises them into
    /// `formats`.
    pub(super) fn activate_alone(
        &mut self,
        compute: Compute<'_>,
        (activation, n_ff): (Gate, usize),
        formats: Formats,
        n_rows: usize,
    ) {
        self.hidden.set_n_in(n_ff);
        let up = &self.up;
        let piece_len = compute.piece_len(n_rows, ROW_WORK * n_ff);
        let parts = pieces(self.hidden.rows_mut(0..n_rows), piece_len).enumerate();
        compute.for_each(ROW_WORK * n_rows * n_ff, parts, |(i, mut rows): (usize, InputRows<'_>)| {
            rows.for_each(formats, |row, out| {
                let up = &up[(i * piece_len + row) * n_ff..][..n_ff];
                compute.kernels.activated(activation, up, out);
            });
        });
    }

    /// As [`GatedScratch::activate`], where gates are cut off before or the result is normed.
    fn hide(
        &mut self,
        compute: Compute<'_>,
        (hiding, n_ff): (&Hiding, usize),
        formats: Formats,
        n_rows: usize,
    ) {
        self.hidden.set_n_in(n_ff);
        let piece_len = compute.piece_len(n_rows, ROW_WORK * n_ff);
        let gates = RowsMut { values: &mut self.gate[..n_rows * n_ff], width: n_ff };
        let inputs = pieces(gates, piece_len).zip(self.up.chunks(piece_len * n_ff));
        let parts = pieces(self.hidden.rows_mut(0..n_rows), piece_len).zip(inputs);
        type Part<'a> = (InputRows<'a>, (RowsMut<'a, f32>, &'a [f32]));
        let ops = compute.kernels.ops();
        compute.for_each(ROW_WORK * n_rows * n_ff, parts, |(mut hidden, (gates, ups)): Part<'_>| {
            let inputs = gates.values.chunks_exact_mut(n_ff).zip(ups.chunks_exact(n_ff));
            for (out, (gates, up)) in hidden.floats().chunks_exact_mut(n_ff).zip(inputs) {
                if let Some(cutoff) = hiding.cutoff {
                    cut_off(gates, cutoff);
                }
                ops.gated(hiding.activation, gates, up, out);
                if let Some(norm) = &hiding.norm {
                    norm.in_place(ops, out, gates);
                }
            }
            hidden.quantize(compute.kernels, formats);
        });
    }
}

/// Subtracts from the gates of a token what lies `deviations` standard deviations above their mean; those below become
/// zero.
fn cut_off(gates: &mut [f32], deviations: f32) {
    let n = gates.len() as f64;
    let mean = gates.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = gates.iter().map(|x| (f64::from(*x) - mean) * (f64::from(*x) - mean)).sum::<f64>() / n;
    let least = (mean + libm::sqrt(variance) * f64::from(deviations)) as f32;
    // Not `max`: NaN stays NaN.
    gates.iter_mut().for_each(|x| *x = if *x < least { 0.0 } else { *x - least });
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
        let formats = Formats::of([&self.down.matrix]);
        match &self.hiding {
            Hiding { activation, cutoff: None, norm: None } => {
                scratch.activate(compute, (*activation, n_ff), formats, n);
            }
            hiding => scratch.hide(compute, (hiding, n_ff), formats, n),
        }
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
