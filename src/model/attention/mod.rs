//! Attention with grouped queries over the key-value cache.
//!
//! The keys a token sees are taken in fixed chunks (`chunks`); what is left of a chunk depends on one
//! query and the chunk alone, and the chunks are put together in their order. What a token gets depends
//! on nothing but itself and the positions before it, whatever the batch it comes in and however the
//! work is divided between threads (`heads`).

use std::ops::Range;

use gguf_simd::ColumnsMut;
use gguf_simd::ops::Ops;

mod chunks;
mod heads;
mod space;

use super::arch::RopeOrder;
use super::compute::{Compute, equal_pieces, pieces};
use super::decoder::Decoder;
use super::inputs::{Formats, InputRows};
use super::kv_cache::KvHead;
use super::product::Product;
use super::weights::LayerWeights;
use super::workspace::Workspace;

pub(super) use space::AttentionSpace;

/// The tokens of a step.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Tokens in the batch.
    pub(super) n: usize,
    /// The position of the first.
    pub(super) n_past: usize,
    /// The tokens whose output is needed; the others only leave their keys and values.
    pub(super) rows: Range<usize>,
}

impl Decoder {
    /// Adds the attention of a layer to the residual stream of `batch.rows`, and appends the keys
    /// and values of the whole batch to the layer's `heads`.
    pub(super) fn attend(
        &self,
        compute: Compute<'_>,
        layer: &LayerWeights,
        heads: &mut [KvHead],
        space: &mut Workspace,
        batch: &Batch,
    ) {
        let Batch { n, ref rows, .. } = *batch;
        let h = &self.hparams;
        let consumers = [&layer.q.matrix, &layer.k.matrix, &layer.v.matrix];
        self.norm(compute, &layer.attn_norm, Formats::of(consumers), space, 0..n);
        let attention = &mut space.attention;
        let q = &mut attention.q[..rows.len() * h.n_embd_q()];
        let k = &mut attention.k[..n * h.n_embd_k()];
        let v = &mut attention.v[..n * h.n_embd_v()];
        let input = |linear, rows| space.normed.for_consumer(linear, rows);
        compute.multiply([
            Product::of(&layer.q, input(&layer.q.matrix, rows.clone()), q),
            Product::of(&layer.k, input(&layer.k.matrix, 0..n), k),
            Product::of(&layer.v, input(&layer.v.matrix, 0..n), v),
        ]);
        self.rotate_and_store(compute, heads, attention, batch);
        if rows.is_empty() {
            return;
        }
        self.attend_heads(compute, heads, attention, batch);
        let output = &layer.attn_output;
        let formats = Formats::of([&output.matrix]);
        let n_heads_out = h.n_head * h.head_dim_v;
        let outputs = attention.heads.rows_mut(0..rows.len());
        let piece_len = compute.piece_len(rows.len(), 4 * n_heads_out);
        let work = 4 * rows.len() * n_heads_out;
        compute.for_each(work, pieces(outputs, piece_len), |mut rows: InputRows<'_>| {
            rows.quantize(compute.kernels, formats);
        });
        let x = attention.heads.for_consumer(&output.matrix, 0..rows.len());
        let stream = rows.start * h.n_embd..rows.end * h.n_embd;
        let product = Product::of(output, x, &mut space.delta[stream.clone()]);
        compute.multiply([product.add_to(&mut space.residual[stream])]);
    }

    /// Rotates queries and keys, scales the queries and brings them into the format that the keys
    /// take, and appends keys and values to the cache.
    fn rotate_and_store(
        &self,
        compute: Compute<'_>,
        heads: &mut [KvHead],
        space: &mut AttentionSpace,
        batch: &Batch,
    ) {
        let h = &self.hparams;
        let (n_rows, group) = (batch.rows.len(), h.n_head / h.n_head_kv);
        let q = &mut space.q[..n_rows * h.n_embd_q()];
        let k = &mut space.k[..batch.n * h.n_embd_k()];
        let q = pieces(ColumnsMut::new(q, h.n_embd_q(), n_rows), group * h.head_dim_k);
        let k = pieces(ColumnsMut::new(k, h.n_embd_k(), batch.n), h.head_dim_k);
        let queries = equal_pieces(space.queries.rows_mut(0..n_rows * h.n_head), h.n_head_kv);
        let parts = heads.iter_mut().zip(k).zip(q.zip(queries)).enumerate();
        let (v, cos, sin, format) = (&space.v, &space.cos, &space.sin, space.query_format);
        let n_angles = self.frequencies.len();
        let angles = |row: usize| {
            let angles = row * n_angles..(row + 1) * n_angles;
            (&cos[angles.clone()], &sin[angles])
        };
        let (ops, attention) = (compute.kernels.ops(), compute.kernels.attention());
        let scale = 1.0 / (h.head_dim_k as f32).sqrt();
        // A rotation or conversion takes about as long as eight multiply-adds of a matrix.
        let work = 8 * (batch.n * (h.n_embd_k() + h.n_embd_v()) + n_rows * h.n_embd_q());
        compute.for_each(work, parts, |(head, ((cache, mut k), (mut q, mut queries)))| {
            for row in 0..batch.n {
                let key = k.column(row);
                self.rotate(ops, key, angles(row));
                let value = row * h.n_embd_v() + head * h.head_dim_v;
                cache.push(attention, key, &v[value..value + h.head_dim_v]);
            }
            let scaled = queries.floats().chunks_exact_mut(group * h.head_dim_k);
            for ((column, row), scaled) in batch.rows.clone().enumerate().zip(scaled) {
                let rotated = q.column(column);
                for query in rotated.chunks_exact_mut(h.head_dim_k) {
                    self.rotate(ops, query, angles(row));
                }
                for (scaled, x) in scaled.iter_mut().zip(rotated) {
                    *scaled = *x * scale;
                }
            }
            queries.quantize(compute.kernels, format);
        });
    }

    fn rotate(&self, ops: &Ops, head: &mut [f32], (cos, sin): (&[f32], &[f32])) {
        let head = &mut head[..self.hparams.rope.n_dims];
        match self.wiring.rope {
            RopeOrder::Pairs => ops.rope_pairs(head, cos, sin),
            RopeOrder::Halves => ops.rope_halves(head, cos, sin),
        }
    }
}
