//! Lightning attention (Qin et al. 2024, "Lightning Attention-2"; MiniMax-01): attention without a softmax, which is a
//! recurrence.
//!
//! ```text
//! q, k, v = silu(W x) for each head;  w = exp(-slope) for each head
//! h = w h + k v^T;  o = h^T q
//! y = W_o (norm(o) sigmoid(G x)),  normed over all heads
//! ```
//!
//! Slopes are those of ALiBi, less in every layer than in the one before.

use gguf_simd::ops::Gate;

use super::heads::{Heads, Places};
use super::scratch::{RecurrentNeeds, RecurrentScratch};
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::Rows;
use crate::model::layer::stream::{Residual, Stream};
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::LightningSpec;
use crate::model::weights::{Linear, Matrix};

/// Attention that is a recurrence.
#[derive(Debug)]
pub(in crate::model) struct Lightning {
    pub(in crate::model) spec: LightningSpec,
    /// `[n_head * 3 * head_dim, n_embd]`: for each head the rows of its query, key and value.
    pub(in crate::model) qkv: Linear,
    /// `[n_inner, n_embd]`.
    pub(in crate::model) gate: Linear,
    /// `[2 n_head]`: what heads decay by, and then ones.
    pub(in crate::model) decays: Vec<f32>,
    /// `[n_inner]`.
    pub(in crate::model) norm: Norm,
    /// `[n_embd, n_inner]`.
    pub(in crate::model) output: Linear,
}

impl Lightning {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of([&self.qkv.matrix, &self.gate.matrix])
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        vec![&self.qkv.matrix, &self.gate.matrix, &self.output.matrix]
    }

    /// What it needs buffers for.
    pub(in crate::model) fn needs(&self) -> RecurrentNeeds<'_> {
        let n_inner = self.spec.n_inner();
        RecurrentNeeds {
            n_projected: 3 * n_inner,
            n_convolved: 3 * n_inner,
            n_gate: n_inner,
            n_scalars: 2 * self.spec.n_head,
            n_out: n_inner,
            output: &self.output.matrix,
        }
    }

    fn heads(&self) -> Heads {
        let LightningSpec { n_head, head_dim, .. } = self.spec;
        let n_row = 3 * n_head * head_dim;
        Heads {
            n_head,
            n_key: head_dim,
            n_value: head_dim,
            n_row,
            first: 0,
            n_channels: n_row,
            n_conv_state: 0,
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
        let (n, n_inner) = (rows.batch.n(), self.spec.n_inner());
        let of = |linear: &'_ Linear| input.for_consumer(&linear.matrix, 0..n);
        compute.multiply([
            Product::of(&self.qkv, of(&self.qkv), &mut scratch.projected[..n * 3 * n_inner]),
            Product::of(&self.gate, of(&self.gate), &mut scratch.gate[..n * n_inner]),
        ]);
        compute.enter(Phase::Attention);
        self.activate(compute, n, scratch);
        let head_dim = self.spec.head_dim;
        self.heads().walk(compute, rows, scratch, |head| {
            let query = 3 * head * head_dim;
            Places { query, key: query + head_dim, value: query + 2 * head_dim }
        });
        compute.enter(Phase::Rest);
        self.gate(compute, n, scratch);
        let outputs = scratch.outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// Makes of `n` rows of products what heads walk by.
    fn activate(&self, compute: Compute<'_>, n: usize, scratch: &mut RecurrentScratch) {
        let RecurrentScratch { projected, convolved, gates, .. } = scratch;
        let (n_row, n_gate) = (3 * self.spec.n_inner(), 2 * self.spec.n_head);
        let piece_len = compute.piece_len(n, 16 * n_row);
        let rows = projected[..n * n_row].chunks(piece_len * n_row);
        let outs = convolved[..n * n_row].chunks_mut(piece_len * n_row);
        let parts = rows.zip(outs).zip(gates[..n * n_gate].chunks_mut(piece_len * n_gate));
        let ops = compute.kernels.ops();
        compute.for_each(
            16 * n * n_row,
            parts,
            |((rows, out), gates): ((&[f32], &mut [f32]), &mut [f32])| {
                ops.activate(Gate::Silu, rows, out);
                gates.chunks_exact_mut(n_gate).for_each(|gates| gates.copy_from_slice(&self.decays));
            },
        );
    }

    /// Norms the outputs of all heads, multiplies them with their gates, and brings them into the format of the output
    /// matrix.
    fn gate(&self, compute: Compute<'_>, n: usize, scratch: &mut RecurrentScratch) {
        let RecurrentScratch { gate, outputs, spares, .. } = scratch;
        let n_inner = self.spec.n_inner();
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_inner);
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(gate.chunks(piece_len * n_inner));
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (mut outputs, gates): (InputRows<'_>, &[f32])| {
            let spare = &mut spare[..n_inner];
            for (row, gate) in outputs.floats().chunks_exact_mut(n_inner).zip(gates.chunks_exact(n_inner)) {
                self.norm.row(ops, row, 0, spare);
                ops.gated(Gate::Sigmoid, gate, spare, row);
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_inner, spares, parts, body);
    }
}
