//! Mamba with heads (Preferred Networks 2025, "PLaMo 2"): steps, and what is written and read, are made of the convolved
//! values as in Mamba; heads have a matrix each that decays as a whole, as in Mamba-2.
//!
//! ```text
//! z, x = W_in (input), head by head;  x = silu(conv(x));  B, C, r = W_x x, each normed;  t = softplus(W_t r + bias)
//! h = exp(a t) h + B (t x)^T;  y = h^T C + d x;  out = W_out (y * silu(z))
//! ```
//!
//! Between the four products lie: values are parted from gates, convolved, and what depends on them is taken apart, row
//! by row each; heads walk the positions of each sequence, a head on one thread; and outputs are gated.

use gguf_simd::ops::Gate;

use super::conv::Conv;
use super::heads::{Heads, Places, softplus};
use super::scratch::{RecurrentNeeds, RecurrentScratch};
use crate::error::Result;
use crate::model::batch::{BatchPart, Dimensions};
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::Rows;
use crate::model::layer::stream::{Residual, Stream};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::HeadMambaSpec;
use crate::model::weights::{Linear, Matrix};

/// A state-space mixer whose heads' steps are made of the convolved values.
#[derive(Debug)]
pub(in crate::model) struct HeadMamba {
    pub(in crate::model) spec: HeadMambaSpec,
    /// `[2 n_inner, n_embd]`: of each head z, then x.
    pub(in crate::model) input: Linear,
    /// Of x.
    pub(in crate::model) conv: Conv,
    /// `[n_rank + 2 n_state, n_inner]`: B, C and r.
    pub(in crate::model) selection: Linear,
    /// `[n_state]`: of B.
    pub(in crate::model) write_norm: Norm,
    /// `[n_state]`: of C.
    pub(in crate::model) read_norm: Norm,
    /// `[n_rank]`: of r.
    pub(in crate::model) step_norm: Norm,
    /// `[n_head, n_rank]`.
    pub(in crate::model) steps: Linear,
    /// `[n_head]`: the bias of t.
    pub(in crate::model) time_step: Vec<f32>,
    /// `[n_head]`: a, which is negative.
    pub(in crate::model) decay: Vec<f32>,
    /// `[n_head]`: d.
    pub(in crate::model) skip: Vec<f32>,
    /// `[n_embd, n_inner]`.
    pub(in crate::model) output: Linear,
}

/// The buffers of such mixers, whose layers are alike, beside those of all recurrent ones.
#[derive(Debug)]
pub(in crate::model) struct HeadMambaScratch {
    /// `[n_batch, 2 n_inner]`.
    joint: Vec<f32>,
    /// `[n_batch, n_inner]`: convolved values.
    values: Inputs,
    /// `[n_batch, n_rank + 2 n_state]`.
    selected: Vec<f32>,
    /// `[n_batch, n_rank]`.
    ranks: Inputs,
}

impl HeadMambaScratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[&HeadMamba],
        Dimensions { n_batch, .. }: Dimensions,
    ) -> Result<Option<Self>> {
        let Some(spec) = parts.first().map(|part| part.spec) else { return Ok(None) };
        let formats = |of: fn(&HeadMamba) -> &Linear| Formats::of(parts.iter().map(|part| &of(part).matrix));
        let n = spec.n_inner();
        Ok(Some(Self {
            joint: buffers.zeroed(0.0, n_batch, 2 * n)?,
            values: Inputs::new(buffers, n_batch, n, formats(|part| &part.selection))?,
            selected: buffers.zeroed(0.0, n_batch, spec.n_rows())?,
            ranks: Inputs::new(buffers, n_batch, spec.n_rank, formats(|part| &part.steps))?,
        }))
    }
}

impl HeadMamba {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of([&self.input.matrix])
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        [&self.input, &self.selection, &self.steps, &self.output].map(|linear| &linear.matrix).to_vec()
    }

    /// What it needs of the buffers of all recurrent mixers.
    pub(in crate::model) fn needs(&self) -> RecurrentNeeds<'_> {
        let n = self.spec.n_inner();
        RecurrentNeeds {
            n_projected: n,
            n_convolved: self.heads().n_channels,
            n_gate: n,
            n_scalars: 2 * self.spec.n_head,
            n_out: n,
            output: &self.output.matrix,
        }
    }

    /// Heads walk by rows of values, what is written and what is read.
    fn heads(&self) -> Heads {
        let HeadMambaSpec { n_head, head_dim, n_state, .. } = self.spec;
        let n_inner = self.spec.n_inner();
        Heads {
            n_head,
            n_key: n_state,
            n_value: head_dim,
            n_row: n_inner,
            first: 0,
            n_channels: n_inner + 2 * n_state,
            n_conv_state: self.spec.conv().state_len(),
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
        (scratch, own): (&mut RecurrentScratch, &mut HeadMambaScratch),
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let (n, spec) = (rows.batch.n(), &self.spec);
        let n_inner = spec.n_inner();
        let x = input.for_consumer(&self.input.matrix, 0..n);
        compute.multiply([Product::of(&self.input, x, &mut own.joint[..n * 2 * n_inner])]);
        compute.enter(Phase::Attention);
        self.part_gates(compute, n, (scratch, own));
        let formats = Formats::of([&self.selection.matrix]);
        let projected = (&scratch.projected[..n * n_inner], n_inner);
        self.conv.step(compute, rows, projected, (&mut own.values, formats), &mut scratch.spares);
        let x = own.values.for_consumer(&self.selection.matrix, 0..n);
        compute.multiply([Product::of(&self.selection, x, &mut own.selected[..n * spec.n_rows()])]);
        self.take_apart(compute, n, (scratch, own));
        let x = own.ranks.for_consumer(&self.steps.matrix, 0..n);
        compute.multiply([Product::of(&self.steps, x, &mut scratch.scalars[..n * spec.n_head])]);
        let times = scratch.scalars[..n * spec.n_head].chunks_exact(spec.n_head);
        for (gates, times) in scratch.gates.chunks_exact_mut(2 * spec.n_head).zip(times) {
            let (decays, strengths) = gates.split_at_mut(spec.n_head);
            for head in 0..spec.n_head {
                strengths[head] = softplus(times[head] + self.time_step[head]);
                decays[head] = libm::expf(self.decay[head] * strengths[head]);
            }
        }
        self.heads().walk(compute, rows, scratch, |head| Places {
            key: n_inner,
            query: n_inner + spec.n_state,
            value: head * spec.head_dim,
        });
        compute.enter(Phase::Rest);
        self.gate(compute, n, scratch);
        let outputs = scratch.outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// Parts the gates of the first `n` rows from the values.
    fn part_gates(
        &self,
        compute: Compute<'_>,
        n: usize,
        (scratch, own): (&mut RecurrentScratch, &mut HeadMambaScratch),
    ) {
        let (n_inner, head_dim) = (self.spec.n_inner(), self.spec.head_dim);
        let piece_len = compute.piece_len(n, 2 * n_inner) * n_inner;
        let values = scratch.projected[..n * n_inner].chunks_mut(piece_len);
        let gates = scratch.gate[..n * n_inner].chunks_mut(piece_len);
        let parts = values.zip(gates).zip(own.joint.chunks(2 * piece_len));
        compute.for_each(2 * n * n_inner, parts, |((values, gates), joint)| {
            let to = gates.chunks_exact_mut(head_dim).zip(values.chunks_exact_mut(head_dim));
            for (head, (gate, value)) in joint.chunks_exact(2 * head_dim).zip(to) {
                gate.copy_from_slice(&head[..head_dim]);
                value.copy_from_slice(&head[head_dim..]);
            }
        });
    }

    /// Makes of the first `n` rows what heads walk by, and what steps are made from.
    fn take_apart(
        &self,
        compute: Compute<'_>,
        n: usize,
        (scratch, own): (&mut RecurrentScratch, &mut HeadMambaScratch),
    ) {
        let HeadMambaSpec { n_rank, n_state, .. } = self.spec;
        let HeadMambaScratch { values, selected, ranks, .. } = own;
        let (n_inner, n_selected) = (self.spec.n_inner(), self.spec.n_rows());
        let n_walked = n_inner + 2 * n_state;
        let formats = Formats::of([&self.steps.matrix]);
        let piece_len = compute.piece_len(n, 4 * n_walked);
        let walked = RowsMut { values: &mut scratch.convolved[..n * n_walked], width: n_walked };
        let inputs =
            values.floats(0..n).chunks(piece_len * n_inner).zip(selected.chunks(piece_len * n_selected));
        let parts = pieces(ranks.rows_mut(0..n), piece_len).zip(pieces(walked, piece_len)).zip(inputs);
        type Part<'a> = ((InputRows<'a>, RowsMut<'a, f32>), (&'a [f32], &'a [f32]));
        let ops = compute.kernels.ops();
        compute.for_each(4 * n * n_walked, parts, |((mut ranks, walked), (values, selected)): Part<'_>| {
            let outs = ranks.floats().chunks_exact_mut(n_rank).zip(walked.values.chunks_exact_mut(n_walked));
            let inputs = values.chunks_exact(n_inner).zip(selected.chunks_exact(n_selected));
            for ((rank, walked), (values, selected)) in outs.zip(inputs) {
                let (of_values, shared) = walked.split_at_mut(n_inner);
                let (written, read) = shared.split_at_mut(n_state);
                of_values.copy_from_slice(values);
                self.write_norm.row(ops, &selected[..n_state], 0, written);
                self.read_norm.row(ops, &selected[n_state..2 * n_state], 0, read);
                self.step_norm.row(ops, &selected[2 * n_state..], 0, rank);
            }
            ranks.quantize(compute.kernels, formats);
        });
    }

    /// Adds what skips the recurrence, multiplies the outputs with their gates, and brings them into the format of the
    /// output matrix.
    fn gate(&self, compute: Compute<'_>, n: usize, scratch: &mut RecurrentScratch) {
        let HeadMambaSpec { head_dim, n_state, .. } = self.spec;
        let RecurrentScratch { convolved, gate, outputs, spares, .. } = scratch;
        let n_inner = self.spec.n_inner();
        let n_walked = n_inner + 2 * n_state;
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_inner);
        let inputs = gate.chunks(piece_len * n_inner).zip(convolved.chunks(piece_len * n_walked));
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(inputs);
        type Part<'a> = (InputRows<'a>, (&'a [f32], &'a [f32]));
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (mut outputs, (gates, walked)): Part<'_>| {
            let spare = &mut spare[..n_inner];
            let inputs = gates.chunks_exact(n_inner).zip(walked.chunks_exact(n_walked));
            for (y, (gates, walked)) in outputs.floats().chunks_exact_mut(n_inner).zip(inputs) {
                spare.copy_from_slice(y);
                let heads = spare.chunks_exact_mut(head_dim).zip(walked.chunks_exact(head_dim));
                for ((y, x), skip) in heads.zip(&self.skip) {
                    ops.add_scaled(y, *skip, x);
                }
                ops.gated(Gate::Silu, gates, spare, y);
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_inner, spares, parts, body);
    }
}
