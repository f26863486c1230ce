//! Mamba (Gu and Dao 2023; Falcon Mamba, Jamba).
//!
//! ```text
//! x, z = W_in (input);  x = silu(conv(x));  r, B, C = W_x x, normed if there are norms
//! t = softplus(W_t r + bias);  y = selective scan (`gguf_simd::ops`) + d x
//! out = W_out (y * silu(z))
//! ```
//!
//! Between the four products lie four regions: values are convolved, row by row; what depends on them is taken apart;
//! channels walk the positions of each sequence, a few blocks of them on one thread; and outputs are gated.

use std::ops::Range;

use gguf_simd::ColumnsMut;
use gguf_simd::ops::{Gate, Ops, ScanInputs, padded_columns};

use super::conv::Conv;
use crate::error::Result;
use crate::model::batch::{BatchPart, Dimensions};
use crate::model::compute::{ByToken, Compute, RowsMut, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::{Rows, span_lens};
use crate::model::layer::stream::{Residual, Stream};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::Mamba1Spec;
use crate::model::state::trail::LayerState;
use crate::model::weights::{Linear, Matrix};

/// Channels whose states lie together.
const BLOCK: usize = padded_columns(1);

/// A state-space mixer whose numbers decay each for itself.
#[derive(Debug)]
pub(in crate::model) struct Mamba1 {
    pub(in crate::model) spec: Mamba1Spec,
    /// `[2 n_inner, n_embd]`: x and z.
    pub(in crate::model) input: Linear,
    pub(in crate::model) conv: Conv,
    /// `[n_rank + 2 n_state, n_inner]`: r, B and C.
    pub(in crate::model) selection: Linear,
    /// `[n_rank]`: of r.
    pub(in crate::model) step_norm: Option<Norm>,
    /// `[n_state]`: of B.
    pub(in crate::model) write_norm: Option<Norm>,
    /// `[n_state]`: of C.
    pub(in crate::model) read_norm: Option<Norm>,
    /// `[n_inner, n_rank]`.
    pub(in crate::model) steps: Linear,
    /// What [`Mamba1::rates`] makes.
    pub(in crate::model) rates: Vec<f32>,
    /// `[n_inner]`: d.
    pub(in crate::model) skip: Vec<f32>,
    /// `[n_embd, n_inner]`.
    pub(in crate::model) output: Linear,
}

/// The buffers of such mixers, whose layers are alike.
#[derive(Debug)]
pub(in crate::model) struct Mamba1Scratch {
    /// `[n_batch, 2 n_inner]`.
    projected: Vec<f32>,
    /// `[n_batch, n_inner]`: x.
    values: Inputs,
    /// `[n_batch, n_rank + 2 n_state]`.
    selected: Vec<f32>,
    /// `[n_batch, n_rank]`: r.
    ranks: Inputs,
    /// `[n_batch, 2 n_state]`: B and C.
    shared: Vec<f32>,
    /// `[n_batch, n_inner]`: t.
    steps: Vec<f32>,
    /// `[n_batch, n_inner]`.
    outputs: Inputs,
    /// `[n_threads, n_inner]`: a row while it is computed.
    spares: Vec<Vec<f32>>,
}

impl Mamba1Scratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[&Mamba1],
        dimensions: Dimensions,
    ) -> Result<Option<Self>> {
        let most = |of: fn(&Mamba1Spec) -> usize| parts.iter().map(|part| of(&part.spec)).max();
        let (Some(n_inner), Some(n_rank), Some(n_state)) =
            (most(|spec| spec.n_inner), most(|spec| spec.n_rank), most(|spec| spec.n_state))
        else {
            return Ok(None);
        };
        let Dimensions { n_batch, n_threads, .. } = dimensions;
        let formats = |of: fn(&Mamba1) -> &Linear| Formats::of(parts.iter().map(|part| &of(part).matrix));
        Ok(Some(Self {
            projected: buffers.zeroed(0.0, n_batch, 2 * n_inner)?,
            values: Inputs::new(buffers, n_batch, n_inner, formats(|part| &part.selection))?,
            selected: buffers.zeroed(0.0, n_batch, n_rank + 2 * n_state)?,
            ranks: Inputs::new(buffers, n_batch, n_rank, formats(|part| &part.steps))?,
            shared: buffers.zeroed(0.0, n_batch, 2 * n_state)?,
            steps: buffers.zeroed(0.0, n_batch, n_inner)?,
            outputs: Inputs::new(buffers, n_batch, n_inner, formats(|part| &part.output))?,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, n_inner, 1)).collect::<Result<_>>()?,
        }))
    }
}

impl Mamba1 {
    /// The rates of decay `a: [n_inner, n_state]`, as files have them, as scans take them:
    /// `[padded_columns(n_inner) / 16, n_state, 16]`.
    pub(in crate::model) fn rates(spec: &Mamba1Spec, a: &[f32]) -> Vec<f32> {
        let mut rates = vec![0.0; spec.n_state * padded_columns(spec.n_inner)];
        for (channel, a) in a.chunks_exact(spec.n_state).enumerate() {
            let first = channel / BLOCK * spec.n_state * BLOCK + channel % BLOCK;
            a.iter().enumerate().for_each(|(s, a)| rates[first + s * BLOCK] = *a);
        }
        rates
    }

    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of([&self.input.matrix])
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        [&self.input, &self.selection, &self.steps, &self.output].map(|linear| &linear.matrix).to_vec()
    }

    /// Adds its output for `rows` to `stream` as `residual` says, and updates what it remembers; `input` holds the
    /// normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut Mamba1Scratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let (n, Mamba1Spec { n_inner, .. }) = (rows.batch.n(), self.spec);
        let Mamba1Scratch { values, ranks, outputs, .. } = scratch;
        [&mut *values, outputs].into_iter().for_each(|inputs| inputs.set_n_in(n_inner));
        ranks.set_n_in(self.spec.n_rank);
        let x = input.for_consumer(&self.input.matrix, 0..n);
        compute.multiply([Product::of(&self.input, x, &mut scratch.projected[..n * 2 * n_inner])]);
        compute.enter(Phase::Attention);
        let formats = Formats::of([&self.selection.matrix]);
        let projected = (&scratch.projected[..n * 2 * n_inner], 2 * n_inner);
        self.conv.step(compute, rows, projected, (&mut scratch.values, formats), &mut scratch.spares);
        let x = scratch.values.for_consumer(&self.selection.matrix, 0..n);
        let selected = &mut scratch.selected[..n * self.spec.n_rows()];
        compute.multiply([Product::of(&self.selection, x, selected)]);
        self.take_apart(compute, n, scratch);
        let x = scratch.ranks.for_consumer(&self.steps.matrix, 0..n);
        compute.multiply([Product::of(&self.steps, x, &mut scratch.steps[..n * n_inner])]);
        self.scan(compute, rows, scratch);
        compute.enter(Phase::Rest);
        self.gate(compute, n, scratch);
        let outputs = scratch.outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// Takes r, B and C of the first `n` rows apart, and norms them.
    fn take_apart(&self, compute: Compute<'_>, n: usize, scratch: &mut Mamba1Scratch) {
        let Mamba1Spec { n_rank, n_state, .. } = self.spec;
        let Mamba1Scratch { selected, ranks, shared, .. } = scratch;
        let n_row = self.spec.n_rows();
        let formats = Formats::of([&self.steps.matrix]);
        let piece_len = compute.piece_len(n, 4 * n_row);
        let shared = RowsMut { values: &mut shared[..n * 2 * n_state], width: 2 * n_state };
        let inputs = pieces(shared, piece_len).zip(selected.chunks(piece_len * n_row));
        let parts = pieces(ranks.rows_mut(0..n), piece_len).zip(inputs);
        type Part<'a> = (InputRows<'a>, (RowsMut<'a, f32>, &'a [f32]));
        let ops = compute.kernels.ops();
        compute.for_each(4 * n * n_row, parts, |(mut ranks, (shared, selected)): Part<'_>| {
            let outs =
                ranks.floats().chunks_exact_mut(n_rank).zip(shared.values.chunks_exact_mut(2 * n_state));
            for ((rank, shared), selected) in outs.zip(selected.chunks_exact(n_row)) {
                let (written, read) = shared.split_at_mut(n_state);
                let part = |range: Range<usize>| &selected[range];
                norm_or_copy(ops, self.step_norm.as_ref(), part(0..n_rank), rank);
                norm_or_copy(ops, self.write_norm.as_ref(), part(n_rank..n_rank + n_state), written);
                norm_or_copy(ops, self.read_norm.as_ref(), part(n_rank + n_state..n_row), read);
            }
            ranks.quantize(compute.kernels, formats);
        });
    }

    /// Lets the channels walk the positions of each sequence, from what it remembers on.
    fn scan<P: BatchPart>(&self, compute: Compute<'_>, rows: &mut Rows<'_, P>, scratch: &mut Mamba1Scratch) {
        let Mamba1Spec { n_inner, n_state, .. } = self.spec;
        let Mamba1Scratch { values, shared, steps, outputs, .. } = scratch;
        let (batch, n_conv_state) = (rows.batch, self.spec.conv().state_len());
        let n = batch.n();
        let steps = &mut steps[..n * n_inner];
        let piece_len = compute.piece_len(n, 16 * n_inner);
        compute.for_each(16 * n * n_inner, steps.chunks_mut(piece_len * n_inner), |steps| {
            compute.kernels.ops().softplus(steps);
        });
        let (steps, values) = (&*steps, values.floats(0..n));
        // An exponential takes about as long as eight multiply-adds.
        let work = 8 * n * n_inner * n_state;
        let n_channels = n_inner.div_ceil(compute.n_parts(work)).next_multiple_of(BLOCK);
        let state_len = n_channels * n_state;
        let outputs = ByToken(ColumnsMut::new(outputs.floats_mut(0..n), n_inner, n));
        let parts = rows.spans().zip(pieces_of(outputs, span_lens(batch))).flat_map(|(span, outputs)| {
            let states =
                pieces(span.state.split_at(n_conv_state).1, state_len).zip(self.rates.chunks(state_len));
            let channels = pieces(outputs.0, n_channels).enumerate();
            let of_span = span.first;
            channels.zip(states).map(move |((i, outputs), states)| (of_span, i, states, outputs))
        });
        type Part<'a> = (usize, usize, (LayerState<'a>, &'a [f32]), ColumnsMut<'a>);
        compute.for_each(work, parts, |(first_row, i, (state, rates), mut outputs): Part<'_>| {
            state.walk(outputs.n_cols(), |rows, state| {
                let of_rows = |n_row: usize| (first_row + rows.start) * n_row..(first_row + rows.end) * n_row;
                let inputs = ScanInputs {
                    n_state,
                    values: &values[of_rows(n_inner)],
                    n_value: n_inner,
                    steps: &steps[of_rows(n_inner)],
                    first: i * n_channels,
                    shared: &shared[of_rows(2 * n_state)],
                };
                compute.kernels.ops().selective_scan(state, rates, inputs, outputs.columns(rows));
            });
        });
    }

    /// Adds what skips the scan, multiplies the outputs with their gates, and brings them into the format of the output
    /// matrix.
    fn gate(&self, compute: Compute<'_>, n: usize, scratch: &mut Mamba1Scratch) {
        let n_inner = self.spec.n_inner;
        let Mamba1Scratch { projected, values, outputs, spares, .. } = scratch;
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_inner);
        let inputs =
            projected.chunks(piece_len * 2 * n_inner).zip(values.floats(0..n).chunks(piece_len * n_inner));
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(inputs);
        type Part<'a> = (InputRows<'a>, (&'a [f32], &'a [f32]));
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (mut outputs, (projected, values)): Part<'_>| {
            let spare = &mut spare[..n_inner];
            let inputs = projected.chunks_exact(2 * n_inner).zip(values.chunks_exact(n_inner));
            for (y, (projected, x)) in outputs.floats().chunks_exact_mut(n_inner).zip(inputs) {
                for ((spare, y), (d, x)) in spare.iter_mut().zip(&*y).zip(self.skip.iter().zip(x)) {
                    *spare = y + d * x;
                }
                ops.gated(Gate::Silu, &projected[n_inner..], spare, y);
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_inner, spares, parts, body);
    }
}

fn norm_or_copy(ops: &Ops, norm: Option<&Norm>, x: &[f32], out: &mut [f32]) {
    match norm {
        Some(norm) => norm.row(ops, x, 0, out),
        None => out.copy_from_slice(x),
    }
}
