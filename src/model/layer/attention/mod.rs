//! Attention with grouped queries over the key-value cache.
//!
//! The keys a token sees are taken in fixed chunks (`chunks`). What a chunk contributes depends only on the
//! query and the chunk, and contributions are combined in order. So a token's result depends only on itself and
//! the positions before it, whatever its batch and however the work is divided between threads (`heads`).

mod chunks;
mod heads;
mod mla;
mod relative;
mod rotate;
mod scratch;

use super::norm::Norm;
use super::rows::Rows;
use super::stream::{Residual, Stream};
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::product::Product;
use crate::model::spec::layer::{AttentionGate, AttentionSpec, QkNormExtent};
use crate::model::weights::{Linear, Matrix};

use scratch::Scratch;

pub(in crate::model) use mla::{Mla, MlaScratch};
pub(in crate::model) use relative::RelativeBias;
pub(in crate::model) use scratch::{AttentionScratch, Needs};

/// The attention part of a layer.
#[derive(Debug)]
pub(in crate::model) struct Attention {
    pub(in crate::model) spec: AttentionSpec,
    /// `[n_head * head_dim_k, n_embd]`; with gates behind the queries of each head, twice the rows.
    pub(in crate::model) q: Linear,
    /// `[n_head_kv * head_dim_k, n_embd]`; `None` if another layer's keys and values are used.
    pub(in crate::model) k: Option<Linear>,
    /// `[n_head_kv * head_dim_v, n_embd]`; `None` if values are what keys are before they are normed and
    /// rotated.
    pub(in crate::model) v: Option<Linear>,
    pub(in crate::model) q_norm: Option<Norm>,
    pub(in crate::model) k_norm: Option<Norm>,
    pub(in crate::model) v_norm: Option<Norm>,
    /// `[n_head]`: what scores fall by with each position of distance.
    pub(in crate::model) slopes: Option<Vec<f32>>,
    pub(in crate::model) relative: Option<RelativeBias>,
    /// `[n_head]`.
    pub(in crate::model) sinks: Option<Vec<f32>>,
    /// `[n_head, n_embd]` or `[n_head * head_dim_v, n_embd]`.
    pub(in crate::model) gate: Option<Linear>,
    /// `[n_head * head_dim_v]`: of the outputs of all heads.
    pub(in crate::model) output_norm: Option<Norm>,
    /// `[n_embd, n_head * head_dim_v]`.
    pub(in crate::model) output: Linear,
}

impl Attention {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of(self.inputs().map(|linear| &linear.matrix))
    }

    /// What is multiplied with its input.
    fn inputs(&self) -> impl Iterator<Item = &Linear> {
        [Some(&self.q), self.k.as_ref(), self.v.as_ref(), self.gate.as_ref()].into_iter().flatten()
    }

    /// What it needs buffers for.
    pub(in crate::model) fn needs(&self) -> Needs<'_> {
        let n_gate = self.n_gate();
        Needs { spec: &self.spec, output: Some(&self.output.matrix), n_gate }
    }

    /// Gates of a token.
    fn n_gate(&self) -> usize {
        match self.spec.gate {
            Some(AttentionGate::WithQuery) => self.spec.n_embd_q(),
            _ => self.gate.as_ref().map_or(0, |gate| gate.matrix.n_out()),
        }
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        self.inputs().chain([&self.output]).map(|linear| &linear.matrix).collect()
    }

    /// Appends the keys and values of `rows` to their caches, adds the output of attention for them to
    /// `stream` as `residual` says, or does both. `input` holds the normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut AttentionScratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let n = rows.batch.n();
        let (n_keys, n_queries) = rows.does.rows(n);
        let n_keys = if self.k.is_some() { n_keys } else { 0 };
        self.project(compute, input, (n_keys, n_queries), scratch);
        rotate::rotate_and_store(self, compute, rows, scratch);
        if n_queries == 0 {
            return;
        }
        let of_heads = heads::OfHeads {
            sinks: self.sinks.as_deref(),
            slopes: self.slopes.as_deref(),
            relative: self.relative.as_ref(),
        };
        heads::attend(compute, (&self.spec, of_heads), rows, scratch);
        self.gate_and_quantize(compute, n, scratch);
        let outputs = scratch.heads.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// Computes queries, keys, values and gates, bounds them, and norms those that are normed as a whole.
    fn project(
        &self,
        compute: Compute<'_>,
        input: &Inputs,
        (n_keys, n_queries): (usize, usize),
        scratch: &mut AttentionScratch,
    ) {
        let spec = &self.spec;
        let AttentionScratch { q, k, v, gate, with_gates, scratch, heads, .. } = scratch;
        heads.set_n_in(spec.n_embd_out());
        let q = &mut q[..n_queries * spec.n_embd_q()];
        let k = &mut k[..n_keys * spec.n_embd_k()];
        let v = &mut v[..n_keys * spec.n_embd_v()];
        let is_joint = spec.gate == Some(AttentionGate::WithQuery);
        let queries = if is_joint { &mut with_gates[..2 * q.len()] } else { &mut *q };
        let of = |linear: &'_ Linear, n| input.for_consumer(&linear.matrix, 0..n);
        let gates = self.gate.as_ref().map(|linear| {
            let n_out = linear.matrix.n_out();
            Product::of(linear, of(linear, n_queries), &mut gate[..n_queries * n_out])
        });
        compute.multiply_some([
            Some(Product::of(&self.q, of(&self.q, n_queries), queries)),
            self.k.as_ref().map(|linear| Product::of(linear, of(linear, n_keys), &mut *k)),
            self.v.as_ref().map(|linear| Product::of(linear, of(linear, n_keys), &mut *v)),
            gates,
        ]);
        if is_joint {
            self.divide_gates(compute, with_gates, q, gate);
        }
        if self.v.is_none() {
            v.copy_from_slice(k);
        }
        if let Some(bound) = spec.clamp {
            for rows in [&mut *q, k, v] {
                rows.iter_mut().for_each(|x| *x = x.clamp(-bound, bound));
            }
        }
        let is_of_token = |norm: &&Norm| {
            norm.weight.len() > 1 && spec.qk_norm.is_some_and(|spec| spec.extent == QkNormExtent::Token)
        };
        for (norm, rows) in [(&self.q_norm, q), (&self.k_norm, k)] {
            let Some(norm) = norm.as_ref().filter(is_of_token) else { continue };
            let n_in = norm.weight.len();
            let piece_len = compute.piece_len(rows.len() / n_in, 4 * n_in);
            let work = 4 * rows.len();
            let parts = rows.chunks_mut(piece_len * n_in);
            compute.for_each_with(work, scratch, parts, |scratch, rows| {
                norm.in_place(compute.kernels.ops(), rows, &mut scratch.row);
            });
        }
    }

    /// Divides `joint: [n, n_head, 2, head_dim_k]` into queries, `[n, n_head, head_dim_k]`, and gates.
    fn divide_gates(&self, compute: Compute<'_>, joint: &[f32], queries: &mut [f32], gates: &mut [f32]) {
        let (head_dim, n_q, len) = (self.spec.head_dim_k, self.spec.n_embd_q(), queries.len());
        let piece_len = compute.piece_len(len / n_q, 2 * n_q) * n_q;
        let parts =
            queries.chunks_mut(piece_len).zip(gates.chunks_mut(piece_len)).zip(joint.chunks(2 * piece_len));
        compute.for_each(2 * len, parts, |((queries, gates), joint)| {
            let to = queries.chunks_exact_mut(head_dim).zip(gates.chunks_exact_mut(head_dim));
            for (head, (query, gate)) in joint.chunks_exact(2 * head_dim).zip(to) {
                query.copy_from_slice(&head[..head_dim]);
                gate.copy_from_slice(&head[head_dim..]);
            }
        });
    }

    /// Multiplies the outputs of the heads of `n` rows with their gates, norms them, and brings them into the format of
    /// the output matrix.
    fn gate_and_quantize(&self, compute: Compute<'_>, n: usize, scratch: &mut AttentionScratch) {
        let AttentionScratch { heads, gate, scratch, .. } = scratch;
        let n_out = self.spec.n_embd_out();
        let formats = Formats::of([&self.output.matrix]);
        let n_gate = self.n_gate();
        let piece_len = compute.piece_len(n, 4 * n_out);
        let parts = pieces(heads.rows_mut(0..n), piece_len).enumerate();
        let body = |scratch: &mut Scratch, (i, mut rows): (usize, InputRows<'_>)| {
            for (j, outputs) in rows.floats().chunks_exact_mut(n_out).enumerate() {
                let mut gates = &gate[(i * piece_len + j) * n_gate..][..n_gate];
                let mut weigh: fn(f32) -> f32 = sigmoid;
                if self.spec.has_softplus_gates {
                    let own = &mut scratch.row[..n_gate];
                    own.copy_from_slice(gates);
                    compute.kernels.ops().softplus(own);
                    (gates, weigh) = (own, core::convert::identity);
                }
                match self.spec.gate {
                    None => {}
                    Some(AttentionGate::Element | AttentionGate::WithQuery) => {
                        gate_elements(outputs, gates, weigh);
                    }
                    Some(AttentionGate::Head) => gate_heads(outputs, gates, weigh),
                }
            }
            if let Some(norm) = &self.output_norm {
                norm.in_place(compute.kernels.ops(), rows.floats(), &mut scratch.row);
            }
            rows.quantize(compute.kernels, formats);
        };
        compute.for_each_with(4 * n * n_out, scratch, parts, body);
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// Multiplies each output with what its gate weighs.
fn gate_elements(outputs: &mut [f32], gates: &[f32], weigh: fn(f32) -> f32) {
    outputs.iter_mut().zip(gates).for_each(|(output, gate)| *output *= weigh(*gate));
}

/// Multiplies the outputs of each head with what its gate weighs.
fn gate_heads(outputs: &mut [f32], gates: &[f32], weigh: fn(f32) -> f32) {
    let head_dim = outputs.len() / gates.len();
    for (outputs, gate) in outputs.chunks_exact_mut(head_dim).zip(gates) {
        let gate = weigh(*gate);
        outputs.iter_mut().for_each(|output| *output *= gate);
    }
}
