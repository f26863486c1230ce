//! Gated delta-nets (Yang et al. 2024; Qwen3-Next, Qwen 3.5).
//!
//! ```text
//! q, k, v = silu(conv(W x));  q and k of unit length, q divided by the root of its own
//! g = exp(a softplus(alpha + t));  b = sigmoid(beta);  o = delta rule (`gguf_simd::ops`)
//! y = W_out (norm(o) * silu(z)), or sigmoid(z)
//! ```
//!
//! Four regions follow the products: rows are convolved and normed; heads walk the positions of each sequence, a
//! head on one thread; outputs are normed and gated, row by row; and the output matrix.

use gguf_simd::ops::{Gate, Ops};

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
    /// The matrices of the strength and the decay of each head, `[n_head_v, n_embd]` each; or one, `[2 n_head_v, n_embd]`,
    /// which has for each key head the strengths of its value heads, then the decays.
    pub(in crate::model) gates: Vec<Linear>,
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

impl DeltaNet {
    /// What is multiplied with its input.
    fn inputs(&self) -> impl Iterator<Item = &Linear> {
        [&self.qkv, &self.z].into_iter().chain(&self.gates)
    }

    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of(self.inputs().map(|linear| &linear.matrix))
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        self.inputs().chain([&self.output]).map(|linear| &linear.matrix).collect()
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

    fn heads(&self) -> Heads {
        let conv = self.spec.conv();
        Heads {
            n_head: self.spec.n_head_v,
            n_key: self.spec.head_dim_k,
            n_value: self.spec.head_dim_v,
            n_row: conv.n_channels,
            first: 0,
            n_channels: conv.n_channels,
            n_conv_state: conv.state_len(),
            is_delta: true,
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
        let (heads, spec) = (self.heads(), &self.spec);
        heads.convolve(compute, &self.conv, rows, scratch, |scalars, row| {
            row.ops.activate(Gate::Silu, row.raw, row.convolved);
            self.bring_to_length(row.ops, row.convolved, row.raw);
            self.make_gates(scalars, (n, row.number), row.gates);
        });
        heads.walk(compute, rows, scratch, |head| Places {
            query: spec.key_head(head) * spec.head_dim_k,
            key: spec.n_keys() + spec.key_head(head) * spec.head_dim_k,
            value: 2 * spec.n_keys() + head * spec.head_dim_v,
        });
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
        // Those of one matrix lie together for each row, those of two one after the other.
        let (gates, n_scalars) = (self.gates.iter(), n * 2 * self.spec.n_head_v);
        let mut scalars = scalars[..n_scalars].chunks_mut((n_scalars / self.gates.len()).max(1));
        let mut gates = gates.zip(&mut scalars).map(|(linear, out)| Product::of(linear, of(linear), out));
        compute.multiply_some([Some(qkv), Some(z), gates.next(), gates.next()]);
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
            let (beta, alpha) = if self.spec.has_joint_gates {
                let group = n_head / self.spec.n_head_k;
                let beta = 2 * (row * n_head + head / group * group) + head % group;
                (beta, beta + group)
            } else {
                (row * n_head + head, (n + row) * n_head + head)
            };
            let x = scalars[alpha] + self.time_step[head];
            decays[head] = libm::expf(self.decay[head] * softplus(x));
            strengths[head] = 1.0 / (1.0 + libm::expf(-scalars[beta]));
        }
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
                ops.gated(self.spec.gate, gate, spare, output);
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_values, spares, parts, body);
    }
}
