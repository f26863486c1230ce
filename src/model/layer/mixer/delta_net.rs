//! Gated delta-nets (Yang et al. 2024; Qwen3-Next, Qwen 3.5).
//!
//! ```text
//! q, k, v = silu(conv(W x));  q and k of unit length, q divided by the root of its own
//! g = exp(a softplus(alpha + t));  b = sigmoid(beta);  o = delta rule (`gguf_simd::ops`)
//! y = W_out (norm(o) * silu(z))
//! ```
//!
//! Four regions follow the products: rows are convolved and normed; heads walk the positions of each sequence, a
//! head on one thread; outputs are normed and gated, row by row; and the output matrix.

use gguf_simd::ColumnsMut;
use gguf_simd::ops::{Gate, HeadInputs, Ops};

use super::conv::{Channels, Conv};
use super::scratch::{RecurrentNeeds, RecurrentScratch};
use crate::model::batch::BatchPart;
use crate::model::compute::{ByToken, Compute, RowsMut, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::{Rows, span_lens};
use crate::model::layer::stream::{Residual, Stream};
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::DeltaNetSpec;
use crate::model::weights::{Linear, Matrix};

/// Added to the squared length of queries and keys: no configuration says it.
const LENGTH_EPS: f32 = 1e-6;

/// A gated delta-net.
#[derive(Debug)]
pub(in crate::model) struct DeltaNet {
    pub(in crate::model) spec: DeltaNetSpec,
    /// `[2 n_keys + n_values, n_embd]`.
    pub(in crate::model) qkv: Linear,
    /// `[n_values, n_embd]`.
    pub(in crate::model) z: Linear,
    pub(in crate::model) gates: Gates,
    pub(in crate::model) conv: Conv,
    /// `[n_head_v]`: `a`, which is negative.
    pub(in crate::model) decay: Vec<f32>,
    /// `[n_head_v]`: `t`.
    pub(in crate::model) time_step: Vec<f32>,
    /// `[head_dim_v]`.
    pub(in crate::model) norm: Norm,
    /// `[n_embd, n_values]`.
    pub(in crate::model) output: Linear,
}

/// The matrices of the strength and the decay of each head.
#[derive(Debug)]
pub(in crate::model) enum Gates {
    /// One, `[2 n_head_v, n_embd]`: for each key head the strengths of its value heads, then the decays.
    Joint(Linear),
    /// Those of the strengths and of the decays, `[n_head_v, n_embd]` each.
    Apart(Box<[Linear; 2]>),
}

impl DeltaNet {
    fn inputs(&self) -> Vec<&Linear> {
        let mut inputs = vec![&self.qkv, &self.z];
        match &self.gates {
            Gates::Joint(gates) => inputs.push(gates),
            Gates::Apart(gates) => inputs.extend(gates.iter()),
        }
        inputs
    }

    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of(self.inputs().into_iter().map(|linear| &linear.matrix))
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        self.inputs().into_iter().chain([&self.output]).map(|linear| &linear.matrix).collect()
    }

    /// What it needs buffers for.
    pub(in crate::model) fn needs(&self) -> RecurrentNeeds<'_> {
        let n_channels = self.spec.conv().n_channels;
        RecurrentNeeds {
            n_projected: n_channels,
            n_convolved: n_channels,
            n_gate: self.spec.n_values(),
            n_scalars: 2 * self.spec.n_head_v,
            n_out: self.spec.n_values(),
            output: &self.output.matrix,
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
        let n = rows.batch.n();
        self.project(compute, input, n, scratch);
        compute.enter(Phase::Attention);
        self.convolve(compute, rows, scratch);
        self.walk(compute, rows, scratch);
        compute.enter(Phase::Rest);
        self.gate(compute, n, scratch);
        let outputs = scratch.outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// The products of the input.
    fn project(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut RecurrentScratch) {
        let RecurrentScratch { projected, gate, scalars, .. } = scratch;
        let of = |linear: &'_ Linear| input.for_consumer(&linear.matrix, 0..n);
        let qkv = Product::of(&self.qkv, of(&self.qkv), &mut projected[..n * self.qkv.matrix.n_out()]);
        let z = Product::of(&self.z, of(&self.z), &mut gate[..n * self.z.matrix.n_out()]);
        let n_head = self.spec.n_head_v;
        match &self.gates {
            Gates::Joint(gates) => {
                let gates = Product::of(gates, of(gates), &mut scalars[..n * 2 * n_head]);
                compute.multiply([qkv, z, gates]);
            }
            Gates::Apart(gates) => {
                let (strengths, decays) = scalars[..n * 2 * n_head].split_at_mut(n * n_head);
                let strengths = Product::of(&gates[0], of(&gates[0]), strengths);
                let decays = Product::of(&gates[1], of(&gates[1]), decays);
                compute.multiply([qkv, z, strengths, decays]);
            }
        }
    }

    /// Convolves queries, keys and values, brings the former two to their length, and makes decays and strengths.
    fn convolve<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        scratch: &mut RecurrentScratch,
    ) {
        let batch = rows.batch;
        let (n, n_channels) = (batch.n(), self.spec.conv().n_channels);
        let n_state = self.spec.conv().state_len();
        let n_gates = 2 * self.spec.n_head_v;
        let RecurrentScratch { projected, convolved, scalars, gates, spares, .. } = scratch;
        let (projected, scalars) = (&projected[..n * n_channels], &scalars[..n * n_gates]);
        let piece_len = compute.piece_len(n, 16 * n_channels);
        let convolved = RowsMut { values: &mut convolved[..n * n_channels], width: n_channels };
        let gates = RowsMut { values: &mut gates[..n * n_gates], width: n_gates };
        let lens = || span_lens(batch);
        let outs = pieces_of(convolved, lens()).zip(pieces_of(gates, lens()));
        let parts = rows.spans().zip(outs).flat_map(|(span, (convolved, gates))| {
            let rows = &projected[span.first * n_channels..(span.first + span.n) * n_channels];
            let channels = Channels { rows, n_row: n_channels, first: 0, state: &span.state[..n_state] };
            let outs = pieces(convolved, piece_len).zip(pieces(gates, piece_len)).enumerate();
            outs.map(move |(i, outs)| (channels, span.first, i * piece_len, outs))
        });
        type Outs<'a> = (RowsMut<'a, f32>, RowsMut<'a, f32>);
        type Part<'a> = (Channels<'a>, usize, usize, Outs<'a>);
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (channels, first, start, outs): Part<'_>| {
            let outs =
                outs.0.values.chunks_exact_mut(n_channels).zip(outs.1.values.chunks_exact_mut(n_gates));
            for (i, (out, gates)) in (start..).zip(outs) {
                let spare = &mut spare[..n_channels];
                self.conv.row(ops, &channels, i, spare);
                ops.activate(Gate::Silu, spare, out);
                self.bring_to_length(ops, out, spare);
                self.make_gates(scalars, (n, first + i), gates);
            }
        };
        compute.for_each_with(16 * n * n_channels, spares, parts, body);
        for span in rows.spans() {
            let rows = &projected[span.first * n_channels..(span.first + span.n) * n_channels];
            self.conv.remember(rows, (n_channels, 0), &mut span.state[..n_state]);
        }
    }

    /// Divides each query and key of a row by its length, and queries by the root of their number of elements: a root
    /// mean square norm whose weights are constant.
    fn bring_to_length(&self, ops: &Ops, row: &mut [f32], spare: &mut [f32]) {
        let (n, n_keys) = (self.spec.head_dim_k, self.spec.n_keys());
        let eps = LENGTH_EPS / n as f32;
        let (spare, weights) = spare.split_at_mut(n);
        for (heads, weight) in [(0..n_keys, 1.0 / n as f32), (n_keys..2 * n_keys, 1.0 / (n as f32).sqrt())] {
            let weights = &mut weights[..n];
            weights.fill(weight);
            for head in row[heads].chunks_exact_mut(n) {
                spare.copy_from_slice(head);
                ops.rms_norm(spare, weights, eps, head);
            }
        }
    }

    /// The decays of row `row` of `n`, then its strengths.
    fn make_gates(&self, scalars: &[f32], (n, row): (usize, usize), out: &mut [f32]) {
        let n_head = self.spec.n_head_v;
        let (decays, strengths) = out.split_at_mut(n_head);
        for head in 0..n_head {
            let (beta, alpha) = match self.gates {
                Gates::Apart(_) => (row * n_head + head, (n + row) * n_head + head),
                Gates::Joint(_) => {
                    let group = n_head / self.spec.n_head_k;
                    let beta = 2 * (row * n_head + head / group * group) + head % group;
                    (beta, beta + group)
                }
            };
            let x = scalars[alpha] + self.time_step[head];
            decays[head] = libm::expf(self.decay[head] * softplus(x));
            strengths[head] = 1.0 / (1.0 + libm::expf(-scalars[beta]));
        }
    }

    /// Lets every head walk the positions of each sequence.
    fn walk<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        scratch: &mut RecurrentScratch,
    ) {
        let spec = &self.spec;
        let batch = rows.batch;
        let (n, n_channels, n_values) = (batch.n(), spec.conv().n_channels, spec.n_values());
        let (n_head, n_state) = (spec.n_head_v, spec.conv().state_len());
        let RecurrentScratch { convolved, gates, outputs, .. } = scratch;
        let (convolved, gates) = (&convolved[..n * n_channels], &gates[..n * 2 * n_head]);
        outputs.set_n_in(n_values);
        let outputs = ByToken(ColumnsMut::new(outputs.floats_mut(0..n), n_values, n));
        let lens = span_lens(batch);
        let parts = rows.spans().zip(pieces_of(outputs, lens)).flat_map(|(span, outputs)| {
            let matrices = span.state[n_state..].chunks_exact_mut(spec.matrix_len());
            let heads = matrices.zip(pieces(outputs.0, spec.head_dim_v)).enumerate();
            heads.map(move |(head, (matrix, outputs))| (span.first, span.n, head, matrix, outputs))
        });
        let work = 4 * n * n_head * spec.matrix_len();
        type Part<'a> = (usize, usize, usize, &'a mut [f32], ColumnsMut<'a>);
        compute.for_each(work, parts, |(first, n, head, matrix, outputs): Part<'_>| {
            let key_head = spec.key_head(head);
            let inputs = HeadInputs {
                rows: &convolved[first * n_channels..(first + n) * n_channels],
                n_row: n_channels,
                n_key: spec.head_dim_k,
                query: key_head * spec.head_dim_k,
                key: spec.n_keys() + key_head * spec.head_dim_k,
                value: 2 * spec.n_keys() + head * spec.head_dim_v,
                gates: &gates[first * 2 * n_head..(first + n) * 2 * n_head],
                n_gate: 2 * n_head,
                decay: head,
                strength: n_head + head,
            };
            compute.kernels.ops().delta_rule(matrix, inputs, outputs);
        });
    }

    /// Norms the outputs of the heads, multiplies them with their gates, and brings them into the format of the
    /// output matrix.
    fn gate(&self, compute: Compute<'_>, n: usize, scratch: &mut RecurrentScratch) {
        let RecurrentScratch { gate, outputs, spares, .. } = scratch;
        let (n_values, head_dim) = (self.spec.n_values(), self.spec.head_dim_v);
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_values);
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(gate.chunks(piece_len * n_values));
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (mut outputs, gates): (InputRows<'_>, &[f32])| {
            let spare = &mut spare[..head_dim];
            let heads = outputs.floats().chunks_exact_mut(head_dim).zip(gates.chunks_exact(head_dim));
            for (output, gate) in heads {
                self.norm.row(ops, output, 0, spare);
                ops.gated(Gate::Silu, gate, spare, output);
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_values, spares, parts, body);
    }
}

/// `ln(1 + e^x)`; of large numbers the number itself, as everywhere in the field.
fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}
