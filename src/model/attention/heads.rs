//! How the heads of a layer are divided between threads.
//!
//! A part is a key-value head and some tokens, whose queries all meet a chunk of keys while it is in
//! the cache. Where that makes too few parts, as for one token of a model with few key-value heads,
//! each head's chunks are divided as well, and put together in a second region.

use gguf_simd::ColumnsMut;
use gguf_simd::attention::CHUNK;

use super::chunks::{Partial, Running, Tile};
use super::space::{AttentionSpace, Scratch, max_divided, max_tokens};
use super::{Batch, Decoder};
use crate::model::compute::{ByToken, Compute, pieces};
use crate::model::inputs::Inputs;
use crate::model::kv_cache::KvHead;

/// A layer whose queries and keys are ready.
#[derive(Clone, Copy)]
struct Ready<'a> {
    decoder: &'a Decoder,
    compute: Compute<'a>,
    heads: &'a [KvHead],
    queries: &'a Inputs,
    batch: &'a Batch,
}

impl Decoder {
    /// Computes the outputs of all query heads for `batch.rows`, whose queries `space` holds.
    pub(super) fn attend_heads(
        &self,
        compute: Compute<'_>,
        heads: &[KvHead],
        space: &mut AttentionSpace,
        batch: &Batch,
    ) {
        let AttentionSpace { queries, heads: outputs, scratch, partials, .. } = space;
        let outputs = outputs.floats_mut(0..batch.rows.len());
        let ready = Ready { decoder: self, compute, heads, queries, batch };
        let n_groups = batch.rows.len() * heads.len();
        if n_groups <= max_divided(compute.pool.n_threads()) && ready.n_keys() > CHUNK {
            ready.divide_chunks(scratch, partials, outputs);
        } else {
            ready.divide_tokens(scratch, outputs);
        }
    }
}

impl Ready<'_> {
    /// Keys that the last token sees.
    fn n_keys(&self) -> usize {
        self.batch.n_past + self.batch.rows.end
    }

    /// Query heads for each key-value head.
    fn group(&self) -> usize {
        self.decoder.hparams.n_head / self.heads.len()
    }

    /// Multiply-adds of a token for one key-value head.
    fn group_work(&self) -> usize {
        let h = &self.decoder.hparams;
        self.n_keys() * self.group() * (h.head_dim_k + h.head_dim_v)
    }

    /// The queries of `n_tokens` tokens from `first` on for a key-value head.
    fn tile(&self, head: usize, first: usize, n_tokens: usize) -> Tile<'_> {
        let group = self.group();
        let first_query = (head * self.batch.rows.len() + first) * group;
        let format = self.heads[head].rows().keys.cache_type().query_format();
        let kernels = self.compute.kernels;
        Tile {
            ops: kernels.ops(),
            attention: kernels.attention(),
            head: &self.heads[head],
            queries: self.queries.in_format(format, first_query..first_query + n_tokens * group),
            n_tokens,
            group,
            n_keys: self.batch.n_past + self.batch.rows.start + first + 1,
        }
    }

    /// Computes `outputs: [n_rows, n_head * head_dim_v]`, each part for one key-value head and some
    /// tokens.
    fn divide_tokens(&self, scratch: &mut [Scratch], outputs: &mut [f32]) {
        let h = &self.decoder.hparams;
        let (n_rows, n_groups) = (self.batch.rows.len(), self.batch.rows.len() * self.heads.len());
        let even = self.compute.piece_len(n_groups, self.group_work());
        let n_tokens = even.min(max_tokens(self.group())).min(n_rows);
        let outputs = ColumnsMut::new(outputs, h.n_head * h.head_dim_v, n_rows);
        let by_head = pieces(outputs, self.group() * h.head_dim_v).enumerate();
        let parts = by_head.flat_map(|(head, outputs)| {
            let by_token = pieces(ByToken(outputs), n_tokens).enumerate();
            by_token.map(move |(i, outputs)| (head, i * n_tokens, outputs.0))
        });
        let body = |scratch: &mut Scratch, (head, first, out): (usize, usize, ColumnsMut<'_>)| {
            attend(&self.tile(head, first, out.n_cols()), scratch, out);
        };
        self.compute.for_each_with(n_groups * self.group_work(), scratch, parts, body);
    }

    /// As [`Ready::divide_tokens`], each part for one token, one key-value head and some chunks.
    fn divide_chunks(&self, scratch: &mut [Scratch], partials: &mut [f32], outputs: &mut [f32]) {
        let head_dim_v = self.decoder.hparams.head_dim_v;
        let (n_heads, n_groups) = (self.heads.len(), self.batch.rows.len() * self.heads.len());
        let partial_len = self.group() * Partial::query_len(head_dim_v);
        let n_chunks = self.n_keys().div_ceil(CHUNK);
        let partials = &mut partials[..n_groups * n_chunks * partial_len];
        let work = n_groups * self.group_work();
        let parts_per_group = self.compute.n_parts(work).div_ceil(n_groups);
        let chunks_per_part = n_chunks.div_ceil(parts_per_group);
        let by_group = partials.chunks_mut(n_chunks * partial_len).enumerate();
        let parts = by_group.flat_map(|(group, partials)| {
            let by_chunk = partials.chunks_mut(chunks_per_part * partial_len).enumerate();
            by_chunk.map(move |(i, partials)| (group, i * chunks_per_part, partials))
        });
        let tile = |group: usize| self.tile(group % n_heads, group / n_heads, 1);
        let body = |scratch: &mut Scratch, (group, first, partials): (usize, usize, &mut [f32])| {
            let tile = tile(group);
            let partials = partials.chunks_exact_mut(partial_len);
            for (chunk, partial) in (first..tile.n_chunks()).zip(partials) {
                let mut partial = Partial::new(partial, tile.group, head_dim_v);
                tile.attend_chunk(chunk, &mut scratch.scores, &mut scratch.visible, &mut partial);
            }
        };
        self.compute.for_each_with(work, scratch, parts, body);

        let outputs = outputs.chunks_exact_mut(self.group() * head_dim_v);
        let parts = outputs.zip(partials.chunks_mut(n_chunks * partial_len)).enumerate();
        let work = n_groups * n_chunks * partial_len;
        self.compute.for_each(work, parts, |(group, (out, partials))| {
            let tile = tile(group);
            for (q, values) in out.chunks_exact_mut(head_dim_v).enumerate() {
                let mut running = Running::NONE;
                values.fill(0.0);
                for partial in partials.chunks_exact_mut(partial_len).take(tile.n_chunks()) {
                    running.join(values, &Partial::new(partial, tile.group, head_dim_v), q);
                }
                running.finish(values);
            }
        });
    }
}

/// Computes the outputs of a tile, `out: [n_tokens, group * head_dim_v]`, chunk by chunk.
fn attend(tile: &Tile<'_>, scratch: &mut Scratch, mut out: ColumnsMut<'_>) {
    let head_dim_v = tile.head.rows().values.head_dim();
    let running = &mut scratch.running[..tile.n_queries()];
    running.fill(Running::NONE);
    for token in 0..tile.n_tokens {
        out.column(token).fill(0.0);
    }
    for chunk in 0..tile.n_chunks() {
        let mut partial = Partial::new(&mut scratch.partial, tile.n_queries(), head_dim_v);
        tile.attend_chunk(chunk, &mut scratch.scores, &mut scratch.visible, &mut partial);
        for (q, running) in running.iter_mut().enumerate() {
            if tile.n_visible(chunk, q) > 0 {
                let values = &mut out.column(q / tile.group)[q % tile.group * head_dim_v..][..head_dim_v];
                running.join(values, &partial, q);
            }
        }
    }
    for (q, running) in running.iter().enumerate() {
        running.finish(&mut out.column(q / tile.group)[q % tile.group * head_dim_v..][..head_dim_v]);
    }
}
