//! Attention with grouped queries over the key-value cache.
//!
//! Every token and query head is computed by itself: scores against the keys in half precision,
//! softmax, the weighted sum of the values in the order of the positions. What a token gets depends
//! on nothing but itself and the positions before it, whatever the batch it comes in.

use std::ops::Range;

use gguf_simd::ColumnsMut;
use gguf_simd::ops::Ops;

use super::arch::RopeOrder;
use super::compute::{ByToken, Compute, pieces};
use super::decoder::Decoder;
use super::inputs::{Formats, InputRows};
use super::kv_cache::KvHead;
use super::product::Product;
use super::weights::LayerWeights;
use super::workspace::{AttentionSpace, Workspace};

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

    /// Rotates queries and keys, scales the queries, and appends keys and values to the cache.
    fn rotate_and_store(
        &self,
        compute: Compute<'_>,
        heads: &mut [KvHead],
        space: &mut AttentionSpace,
        batch: &Batch,
    ) {
        let h = &self.hparams;
        let group = h.n_head / h.n_head_kv * h.head_dim_k;
        let q = &mut space.q[..batch.rows.len() * h.n_embd_q()];
        let k = &mut space.k[..batch.n * h.n_embd_k()];
        let q = pieces(ColumnsMut::new(q, h.n_embd_q(), batch.rows.len()), group);
        let k = pieces(ColumnsMut::new(k, h.n_embd_k(), batch.n), h.head_dim_k);
        let parts = heads.iter_mut().zip(k).zip(q).enumerate();
        let (v, cos, sin) = (&space.v, &space.cos, &space.sin);
        let n_angles = self.frequencies.len();
        let angles = |row: usize| {
            let angles = row * n_angles..(row + 1) * n_angles;
            (&cos[angles.clone()], &sin[angles])
        };
        let ops = compute.kernels.ops();
        let scale = 1.0 / (h.head_dim_k as f32).sqrt();
        // A rotation or conversion takes about as long as eight multiply-adds of a matrix.
        let work = 8 * (batch.n * (h.n_embd_k() + h.n_embd_v()) + batch.rows.len() * h.n_embd_q());
        compute.for_each(work, parts, |(head, ((cache, mut k), mut q))| {
            for row in 0..batch.n {
                let key = k.column(row);
                self.rotate(ops, key, angles(row));
                let value = row * h.n_embd_v() + head * h.head_dim_v;
                cache.push(ops, key, &v[value..value + h.head_dim_v]);
            }
            for (column, row) in batch.rows.clone().enumerate() {
                for query in q.column(column).chunks_exact_mut(h.head_dim_k) {
                    self.rotate(ops, query, angles(row));
                    query.iter_mut().for_each(|x| *x *= scale);
                }
            }
        });
    }

    fn rotate(&self, ops: &Ops, head: &mut [f32], (cos, sin): (&[f32], &[f32])) {
        let head = &mut head[..self.hparams.rope.n_dims];
        match self.wiring.rope {
            RopeOrder::Pairs => ops.rope_pairs(head, cos, sin),
            RopeOrder::Halves => ops.rope_halves(head, cos, sin),
        }
    }

    /// Computes the outputs of all query heads for `batch.rows`, each part for one key-value head and
    /// some tokens.
    fn attend_heads(
        &self,
        compute: Compute<'_>,
        heads: &[KvHead],
        space: &mut AttentionSpace,
        batch: &Batch,
    ) {
        let h = &self.hparams;
        let n_rows = batch.rows.len();
        let row_work = (batch.n_past + batch.n) * h.n_head * (h.head_dim_k + h.head_dim_v);
        let tokens_per_part = compute.piece_len(n_rows * h.n_head_kv, row_work / h.n_head_kv).min(n_rows);
        let outputs = ColumnsMut::new(space.heads.floats_mut(0..n_rows), h.n_head * h.head_dim_v, n_rows);
        let by_head = pieces(outputs, h.n_head / h.n_head_kv * h.head_dim_v);
        let parts = by_head.zip(heads).enumerate().flat_map(|(head, (outputs, cache))| {
            let by_token = pieces(ByToken(outputs), tokens_per_part).enumerate();
            by_token.map(move |(i, outputs)| (head, cache, i * tokens_per_part, outputs.0))
        });
        let q = &space.q;
        let ops = compute.kernels.ops();
        let group = h.n_head / h.n_head_kv * h.head_dim_k;
        let body =
            |scores: &mut Vec<f32>,
             (head, cache, first, mut out): (usize, &KvHead, usize, ColumnsMut<'_>)| {
                for column in 0..out.n_cols() {
                    let row = first + column;
                    let n_keys = batch.n_past + batch.rows.start + row + 1;
                    let queries = &q[row * h.n_embd_q() + head * group..][..group];
                    let outs = out.column(column).chunks_exact_mut(h.head_dim_v);
                    for (query, out) in queries.chunks_exact(h.head_dim_k).zip(outs) {
                        attend_one(ops, query, cache, &mut scores[..n_keys], out);
                    }
                }
            };
        let work = n_rows * row_work;
        compute.for_each_with(work, &mut space.scores, parts, body);
    }
}

/// Writes what a query, already scaled, gets from the first `scores.len()` positions of a head.
fn attend_one(ops: &Ops, query: &[f32], cache: &KvHead, scores: &mut [f32], out: &mut [f32]) {
    ops.dots_f16(query, cache.keys(scores.len()), scores);
    ops.softmax(scores);
    ops.weighted_sum_f16(scores, cache.values(scores.len()), out);
}
