//! Mamba-2 (Dao and Gu 2024, "Transformers are SSMs"; Granite 4, Nemotron-H).
//!
//! ```text
//! z, x, B, C, t = W_in (input);  x, B, C = silu(conv(x, B, C));  t = softplus(t + bias)
//! h = exp(a t) h + B (t x)^T;  y = h^T C + d x
//! out = W_out norm(y * silu(z)),  normed in groups
//! ```

use gguf_simd::ops::Gate;

use super::conv::Conv;
use super::heads::{Heads, Places, softplus};
use super::scratch::{RecurrentNeeds, RecurrentScratch};
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::Rows;
use crate::model::layer::stream::{Residual, Stream};
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::Mamba2Spec;
use crate::model::weights::{Linear, Matrix};

/// A state-space mixer.
#[derive(Debug)]
pub(in crate::model) struct Mamba2 {
    pub(in crate::model) spec: Mamba2Spec,
    /// `[n_rows, n_embd]`: z, x, B, C and t.
    pub(in crate::model) input: Linear,
    pub(in crate::model) conv: Conv,
    /// `[n_head]`: `a`, which is negative.
    pub(in crate::model) decay: Vec<f32>,
    /// `[n_head]`: `d`.
    pub(in crate::model) skip: Vec<f32>,
    /// `[n_head]`: the bias of `t`.
    pub(in crate::model) time_step: Vec<f32>,
    /// `[n_inner]`.
    pub(in crate::model) norm: Option<Norm>,
    /// `[n_embd, n_inner]`.
    pub(in crate::model) output: Linear,
}

impl Mamba2 {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of([&self.input.matrix])
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        vec![&self.input.matrix, &self.output.matrix]
    }

    /// What it needs buffers for.
    pub(in crate::model) fn needs(&self) -> RecurrentNeeds<'_> {
        RecurrentNeeds {
            n_projected: self.spec.n_rows(),
            n_convolved: self.spec.conv().n_channels,
            n_gate: 0,
            n_scalars: 2 * self.spec.n_head,
            n_out: self.spec.n_inner(),
            output: &self.output.matrix,
        }
    }

    fn heads(&self) -> Heads {
        let conv = self.spec.conv();
        Heads {
            n_head: self.spec.n_head,
            n_key: self.spec.n_state,
            n_value: self.spec.head_dim,
            n_row: self.spec.n_rows(),
            first: self.spec.n_inner(),
            n_channels: conv.n_channels,
            n_conv_state: conv.state_len(),
            is_delta: false,
        }
    }

    /// Adds its output for `rows` to `stream` as `residual` says, and updates what it remembers; `input` holds the
    /// normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut RecurrentScratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let (n, spec) = (rows.batch.n(), &self.spec);
        let x = input.for_consumer(&self.input.matrix, 0..n);
        compute.multiply([Product::of(&self.input, x, &mut scratch.projected[..n * spec.n_rows()])]);
        compute.enter(Phase::Attention);
        let heads = self.heads();
        heads.convolve(compute, &self.conv, rows, scratch, |_, row| {
            row.ops.activate(Gate::Silu, row.raw, row.convolved);
            let time_steps = &row.products[spec.n_rows() - spec.n_head..];
            let (decays, strengths) = row.gates.split_at_mut(spec.n_head);
            for head in 0..spec.n_head {
                strengths[head] = softplus(time_steps[head] + self.time_step[head]);
                decays[head] = libm::expf(self.decay[head] * strengths[head]);
            }
        });
        let (n_inner, n_shared) = (spec.n_inner(), spec.n_group * spec.n_state);
        heads.walk(compute, rows, scratch, |head| {
            let key = n_inner + head / (spec.n_head / spec.n_group) * spec.n_state;
            Places { key, query: key + n_shared, value: head * spec.head_dim }
        });
        compute.enter(Phase::Rest);
        self.gate(compute, n, scratch);
        let outputs = scratch.outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// Adds what skips the recurrence, multiplies the outputs with their gates, norms them, and brings them into the
    /// format of the output matrix.
    fn gate(&self, compute: Compute<'_>, n: usize, scratch: &mut RecurrentScratch) {
        let spec = &self.spec;
        let RecurrentScratch { projected, convolved, outputs, spares, .. } = scratch;
        let (n_inner, n_row, n_channels) = (spec.n_inner(), spec.n_rows(), spec.conv().n_channels);
        let group = n_inner / spec.n_group;
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_inner);
        let inputs = projected.chunks(piece_len * n_row).zip(convolved.chunks(piece_len * n_channels));
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(inputs);
        let ops = compute.kernels.ops();
        type Part<'a> = (InputRows<'a>, (&'a [f32], &'a [f32]));
        let body = |spare: &mut Vec<f32>, (mut outputs, (products, convolved)): Part<'_>| {
            let spare = &mut spare[..n_inner];
            let inputs = products.chunks_exact(n_row).zip(convolved.chunks_exact(n_channels));
            for (row, (products, convolved)) in outputs.floats().chunks_exact_mut(n_inner).zip(inputs) {
                let heads = row.chunks_exact_mut(spec.head_dim).zip(convolved.chunks_exact(spec.head_dim));
                for ((y, x), skip) in heads.zip(&self.skip) {
                    ops.add_scaled(y, *skip, x);
                }
                ops.gated(Gate::Silu, &products[..n_inner], row, spare);
                let groups = row.chunks_exact_mut(group).zip(spare.chunks_exact(group));
                for (i, (out, gated)) in groups.enumerate() {
                    match &self.norm {
                        Some(norm) => norm.row(ops, gated, i * group, out),
                        None => out.copy_from_slice(gated),
                    }
                }
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_inner, spares, parts, body);
    }
}
