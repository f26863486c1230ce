//! Attention with grouped queries over the key-value cache.
//!
//! The keys a token sees are taken in fixed chunks (`chunks`). What a chunk contributes depends only on the
//! query and the chunk, and contributions are combined in order. So a token's result depends only on itself and
//! the positions before it, whatever its batch and however the work is divided between threads (`heads`).

use gguf_simd::ColumnsMut;
use gguf_simd::attention::CHUNK;
use gguf_simd::ops::Ops;

mod chunks;
mod heads;
mod space;

use super::arch::RopeOrder;
use super::batch::{Batch, BatchPart, Run};
use super::compute::{ByToken, Compute, equal_pieces, pieces, pieces_of};
use super::decoder::Decoder;
use super::inputs::{Formats, InputRows};
use super::product::Product;
use super::weights::LayerWeights;
use super::workspace::Workspace;

pub(super) use space::AttentionSpace;

/// Which part of attention to compute for the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Their keys and values are stored.
    Store,
    /// Their queries attend to what is stored.
    Attend,
    /// Both, in this order.
    Both,
}

impl Does {
    /// How many of `n` rows need keys and values, and how many need queries.
    fn rows(self, n: usize) -> (usize, usize) {
        match self {
            Self::Store => (n, 0),
            Self::Attend => (0, n),
            Self::Both => (n, n),
        }
    }
}

impl Decoder {
    /// Appends the keys and values of `batch` to the caches of `parts`, adds the attention of a layer,
    /// which comes with its number, to the residual stream, or does both.
    pub(super) fn attend<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        (index, layer): (usize, &LayerWeights),
        parts: &mut [P],
        space: &mut Workspace,
        batch: &Batch,
        does: Does,
    ) {
        let (h, n) = (&self.hparams, batch.n());
        let consumers = [&layer.q.matrix, &layer.k.matrix, &layer.v.matrix];
        self.norm(compute, &layer.attn_norm, Formats::of(consumers), space, n);
        let attention = &mut space.attention;
        let (n_keys, n_queries) = does.rows(n);
        let q = &mut attention.q[..n_queries * h.n_embd_q()];
        let k = &mut attention.k[..n_keys * h.n_embd_k()];
        let v = &mut attention.v[..n_keys * h.n_embd_v()];
        let input = |linear, n| space.normed.for_consumer(linear, 0..n);
        compute.multiply([
            Product::of(&layer.q, input(&layer.q.matrix, n_queries), q),
            Product::of(&layer.k, input(&layer.k.matrix, n_keys), k),
            Product::of(&layer.v, input(&layer.v.matrix, n_keys), v),
        ]);
        self.rotate_and_store(compute, index, parts, attention, (batch, does));
        if n_queries == 0 {
            return;
        }
        self.attend_heads(compute, index, parts, attention, batch);
        let output = &layer.attn_output;
        let formats = Formats::of([&output.matrix]);
        let n_heads_out = h.n_head * h.head_dim_v;
        let outputs = attention.heads.rows_mut(0..n);
        let piece_len = compute.piece_len(n, 4 * n_heads_out);
        compute.for_each(4 * n * n_heads_out, pieces(outputs, piece_len), |mut rows: InputRows<'_>| {
            rows.quantize(compute.kernels, formats);
        });
        let x = attention.heads.for_consumer(&output.matrix, 0..n);
        let stream = 0..n * h.n_embd;
        let product = Product::of(output, x, &mut space.delta[stream.clone()]);
        compute.multiply([product.add_to(&mut space.residual[stream])]);
    }

    /// Rotates queries and keys, scales the queries and brings them into the format that the keys
    /// take, and appends keys and values to the caches.
    fn rotate_and_store<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        layer: usize,
        parts: &mut [P],
        space: &mut AttentionSpace,
        (batch, does): (&Batch, Does),
    ) {
        let h = &self.hparams;
        let (group, (n_keys, n_queries)) = (h.n_head / h.n_head_kv, does.rows(batch.n()));
        let keys_of = |run: &Run| does.rows(run.n).0;
        let queries_of = |run: &Run| does.rows(run.n).1;
        let runs = || batch.runs.iter();
        let q = ColumnsMut::new(&mut space.q[..n_queries * h.n_embd_q()], h.n_embd_q(), n_queries);
        let k = ColumnsMut::new(&mut space.k[..n_keys * h.n_embd_k()], h.n_embd_k(), n_keys);
        let q = pieces_of(ByToken(q), runs().map(queries_of));
        let k = pieces_of(ByToken(k), runs().map(keys_of));
        let queries = space.queries.rows_mut(0..n_queries * h.n_head);
        let queries = pieces_of(queries, runs().map(|run| queries_of(run) * h.n_head));
        let by_run = batch.runs_of(parts).flat_map(|(part, runs)| {
            // The runs of a part lie in consecutive chunks of its cache, a chunk each.
            let first = runs.first().map_or(0, |run| run.position);
            runs.iter().zip(part.cache_mut().heads_mut(layer, first))
        });
        let parts = by_run.zip(q.zip(queries).zip(k)).flat_map(|((run, cache), ((q, queries), k))| {
            let k = pieces(k.0, h.head_dim_k);
            let q = pieces(q.0, group * h.head_dim_k).zip(equal_pieces(queries, h.n_head_kv));
            let heads = cache.zip(k).zip(q).enumerate();
            heads.map(move |(head, ((cache, k), q))| (head, run, (cache, k, q)))
        });
        let (v, cos, sin, format) = (&space.v, &space.cos, &space.sin, space.query_format);
        let n_angles = self.frequencies.len();
        let angles = |row: usize| {
            let angles = row * n_angles..(row + 1) * n_angles;
            (&cos[angles.clone()], &sin[angles])
        };
        let (ops, attention) = (compute.kernels.ops(), compute.kernels.attention());
        let scale = 1.0 / (h.head_dim_k as f32).sqrt();
        // A rotation or conversion takes about as long as eight multiply-adds of a matrix.
        let work = 8 * (n_keys * (h.n_embd_k() + h.n_embd_v()) + n_queries * h.n_embd_q());
        compute.for_each(work, parts, |(head, run, (mut cache, mut k, (mut q, mut queries)))| {
            for i in 0..k.n_cols() {
                let (row, key) = (run.first_row + i, k.column(i));
                self.rotate(ops, key, angles(row));
                let value = row * h.n_embd_v() + head * h.head_dim_v;
                let at = run.position % CHUNK + i;
                cache.store(attention, at, key, &v[value..value + h.head_dim_v]);
            }
            let scaled = queries.floats().chunks_exact_mut(group * h.head_dim_k);
            for (i, scaled) in scaled.enumerate() {
                let rotated = q.column(i);
                for query in rotated.chunks_exact_mut(h.head_dim_k) {
                    self.rotate(ops, query, angles(run.first_row + i));
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
