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
mod scratch;

use crate::model::batch::{Batch, BatchPart, Run};
use crate::model::compute::{ByToken, Compute, equal_pieces, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::Stream;
use crate::model::product::Product;
use crate::model::rope::Angles;
use crate::model::spec::layer::{AttentionSpec, RopeOrder};
use crate::model::weights::{Linear, Matrix};

pub(in crate::model) use scratch::AttentionScratch;

/// The attention part of a layer.
#[derive(Debug)]
pub(in crate::model) struct Attention {
    pub(in crate::model) spec: AttentionSpec,
    /// `[n_head * head_dim_k, n_embd]`.
    pub(in crate::model) q: Linear,
    /// `[n_head_kv * head_dim_k, n_embd]`.
    pub(in crate::model) k: Linear,
    /// `[n_head_kv * head_dim_v, n_embd]`.
    pub(in crate::model) v: Linear,
    /// `[n_embd, n_head * head_dim_v]`.
    pub(in crate::model) output: Linear,
}

/// The rows that a step computes: where they are, and what they have cached.
pub(in crate::model) struct Rows<'a, P> {
    /// The sequences.
    pub(in crate::model) parts: &'a mut [P],
    /// Which rows are whose.
    pub(in crate::model) batch: &'a Batch,
    /// `[n]`: the angles of their positions.
    pub(in crate::model) angles: &'a Angles,
    /// The layer, whose caches are used.
    pub(in crate::model) layer: usize,
    /// What is computed for them.
    pub(in crate::model) does: Does,
}

/// Which part of attention to compute for the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Does {
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

impl Attention {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of([&self.q.matrix, &self.k.matrix, &self.v.matrix])
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> [&Matrix; 4] {
        [&self.q, &self.k, &self.v, &self.output].map(|linear| &linear.matrix)
    }

    /// Appends the keys and values of `rows` to their caches, adds the output of attention for them to
    /// `stream`, or does both. `input` holds the normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut AttentionScratch,
        stream: &mut Stream,
    ) {
        let (spec, n) = (&self.spec, rows.batch.n());
        let (n_keys, n_queries) = rows.does.rows(n);
        let q = &mut scratch.q[..n_queries * spec.n_embd_q()];
        let k = &mut scratch.k[..n_keys * spec.n_embd_k()];
        let v = &mut scratch.v[..n_keys * spec.n_embd_v()];
        let of = |linear: &'_ Linear, n| input.for_consumer(&linear.matrix, 0..n);
        compute.multiply([
            Product::of(&self.q, of(&self.q, n_queries), q),
            Product::of(&self.k, of(&self.k, n_keys), k),
            Product::of(&self.v, of(&self.v, n_keys), v),
        ]);
        self.rotate_and_store(compute, rows, scratch);
        if n_queries == 0 {
            return;
        }
        self.attend(compute, rows, scratch);
        let formats = Formats::of([&self.output.matrix]);
        let n_out = spec.n_embd_out();
        let outputs = scratch.heads.rows_mut(0..n);
        let piece_len = compute.piece_len(n, 4 * n_out);
        compute.for_each(4 * n * n_out, pieces(outputs, piece_len), |mut rows: InputRows<'_>| {
            rows.quantize(compute.kernels, formats);
        });
        stream.add(compute, &self.output, scratch.heads.for_consumer(&self.output.matrix, 0..n), n);
    }

    /// Rotates queries and keys, scales the queries and brings them into the format that the keys
    /// take, and appends keys and values to the caches.
    fn rotate_and_store<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        scratch: &mut AttentionScratch,
    ) {
        let spec = &self.spec;
        let &mut Rows { ref mut parts, batch, angles, layer, does } = rows;
        let (group, (n_keys, n_queries)) = (spec.group(), does.rows(batch.n()));
        let keys_of = |run: &Run| does.rows(run.n).0;
        let queries_of = |run: &Run| does.rows(run.n).1;
        let runs = || batch.runs.iter();
        let q = ColumnsMut::new(&mut scratch.q[..n_queries * spec.n_embd_q()], spec.n_embd_q(), n_queries);
        let k = ColumnsMut::new(&mut scratch.k[..n_keys * spec.n_embd_k()], spec.n_embd_k(), n_keys);
        let q = pieces_of(ByToken(q), runs().map(queries_of));
        let k = pieces_of(ByToken(k), runs().map(keys_of));
        let queries = scratch.queries.rows_mut(0..n_queries * spec.n_head);
        let queries = pieces_of(queries, runs().map(|run| queries_of(run) * spec.n_head));
        let by_run = batch.runs_of(parts).flat_map(|(part, runs)| {
            // The runs of a part lie in consecutive chunks of its cache, a chunk each.
            let first = runs.first().map_or(0, |run| run.position);
            runs.iter().zip(part.cache_mut().heads_mut(layer, first))
        });
        let parts = by_run.zip(q.zip(queries).zip(k)).flat_map(|((run, cache), ((q, queries), k))| {
            let k = pieces(k.0, spec.head_dim_k);
            let q = pieces(q.0, group * spec.head_dim_k).zip(equal_pieces(queries, spec.n_head_kv));
            let heads = cache.zip(k).zip(q).enumerate();
            heads.map(move |(head, ((cache, k), q))| (head, run, (cache, k, q)))
        });
        let (v, format) = (&scratch.v, scratch.query_format);
        let (ops, attention) = (compute.kernels.ops(), compute.kernels.attention());
        // A rotation or conversion takes about as long as eight multiply-adds of a matrix.
        let work = 8 * (n_keys * (spec.n_embd_k() + spec.n_embd_v()) + n_queries * spec.n_embd_q());
        compute.for_each(work, parts, |(head, run, (mut cache, mut k, (mut q, mut queries)))| {
            for i in 0..k.n_cols() {
                let (row, key) = (run.first_row + i, k.column(i));
                self.rotate(ops, key, angles.of(row));
                let value = row * spec.n_embd_v() + head * spec.head_dim_v;
                let at = run.position % CHUNK + i;
                cache.store(attention, at, key, &v[value..value + spec.head_dim_v]);
            }
            let scaled = queries.floats().chunks_exact_mut(group * spec.head_dim_k);
            for (i, scaled) in scaled.enumerate() {
                let rotated = q.column(i);
                for query in rotated.chunks_exact_mut(spec.head_dim_k) {
                    self.rotate(ops, query, angles.of(run.first_row + i));
                }
                for (scaled, x) in scaled.iter_mut().zip(rotated) {
                    *scaled = *x * spec.scale;
                }
            }
            queries.quantize(compute.kernels, format);
        });
    }

    fn rotate(&self, ops: &Ops, head: &mut [f32], (cos, sin): (&[f32], &[f32])) {
        let head = &mut head[..self.spec.rope_dims];
        match self.spec.rope_order {
            RopeOrder::Pairs => ops.rope_pairs(head, cos, sin),
            RopeOrder::Halves => ops.rope_halves(head, cos, sin),
        }
    }
}
