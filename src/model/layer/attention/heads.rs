//! How the heads of a layer are divided between threads.
//!
//! A part is a key-value head and some tokens of a sequence, whose queries all meet a chunk of keys
//! while it is in the cache. Where that makes too few parts, as for one token of a model with few
//! key-value heads, each head's chunks are divided as well, and put together in a second region.

use gguf_simd::ColumnsMut;
use gguf_simd::attention::CHUNK;

use super::Rows;
use super::chunks::{Partial, Tile};
use super::relative::RelativeBias;
use super::scratch::{AttentionScratch, Scratch, max_divided, max_tokens};
use crate::model::batch::{Batch, BatchPart, Run};
use crate::model::compute::{ByToken, Compute, pieces, pieces_of};
use crate::model::inputs::Inputs;
use crate::model::profile::Phase;
use crate::model::spec::layer::{AttentionSpec, Window};

/// What each head has of its own beside weights.
#[derive(Clone, Copy, Default)]
pub(super) struct OfHeads<'a> {
    /// `[n_head]`: the scores of the sinks.
    pub(super) sinks: Option<&'a [f32]>,
    /// `[n_head]`: what scores fall by with each position of distance.
    pub(super) slopes: Option<&'a [f32]>,
    pub(super) relative: Option<&'a RelativeBias>,
}

/// A layer whose queries and keys are ready.
struct Ready<'a, P> {
    spec: &'a AttentionSpec,
    of_heads: OfHeads<'a>,
    /// The layer whose keys and values are used.
    cached: usize,
    compute: Compute<'a>,
    parts: &'a [P],
    queries: &'a Inputs,
    batch: &'a Batch,
}

/// Computes the outputs of all query heads for `rows`, whose queries `scratch` holds, in a layer of this spec
/// with these numbers of heads.
pub(super) fn attend<P: BatchPart>(
    compute: Compute<'_>,
    (spec, of_heads): (&AttentionSpec, OfHeads<'_>),
    rows: &Rows<'_, P>,
    scratch: &mut AttentionScratch,
) {
    let AttentionScratch { queries, heads: outputs, scratch, partials, .. } = scratch;
    let outputs = outputs.floats_mut(0..rows.batch.n());
    compute.enter(Phase::Attention);
    let &Rows { ref parts, batch, layer, .. } = rows;
    let cached = spec.shares_kv_with.unwrap_or(layer);
    let ready = Ready { spec, of_heads, cached, compute, parts, queries, batch };
    let is_few = ready.n_groups() <= max_divided(compute.n_threads);
    if is_few && ready.max_keys() > CHUNK {
        ready.divide_chunks(scratch, partials, outputs);
    } else {
        ready.divide_tokens(scratch, outputs);
    }
    compute.enter(Phase::Rest);
}

/// Keys up to that of the last token of a run.
fn n_keys(run: &Run) -> usize {
    run.position + run.n
}

impl<P: BatchPart> Ready<'_, P> {
    /// Keys that a token sees at most.
    fn max_keys(&self) -> usize {
        self.batch.runs.iter().map(|run| self.n_seen(run)).max().unwrap_or(0)
    }

    /// Keys that the last token of a run sees.
    fn n_seen(&self, run: &Run) -> usize {
        let n = self.n_all(run).unwrap_or_else(|| n_keys(run));
        match self.spec.window {
            None => n,
            Some(Window::Sliding(window) | Window::Chunked(window)) => n.min(window),
            Some(Window::Around(window)) => n.min(2 * window + 1),
        }
    }

    /// All keys of the text of a run, if its tokens see them.
    fn n_all(&self, run: &Run) -> Option<usize> {
        let part = &self.parts[run.part];
        (!self.spec.is_causal).then(|| part.cache().n_past() + part.ids().len())
    }

    /// Query heads for each key-value head.
    fn group(&self) -> usize {
        self.spec.group()
    }

    /// Key-value heads.
    fn n_heads(&self) -> usize {
        self.spec.n_head_kv
    }

    /// Groups of queries: a token's for a key-value head.
    fn n_groups(&self) -> usize {
        self.batch.n() * self.n_heads()
    }

    /// Multiply-adds of all groups.
    fn work(&self) -> usize {
        let n_pairs: usize = self.batch.runs.iter().map(|run| run.n * self.n_seen(run)).sum();
        n_pairs * self.spec.n_head * (self.spec.head_dim_k + self.spec.head_dim_v)
    }

    /// The queries of `n_tokens` tokens from `first` on of run `run` for a key-value head.
    fn tile(&self, run: usize, head: usize, first: usize, n_tokens: usize) -> Tile<'_> {
        let (group, kernels) = (self.group(), self.compute.kernels);
        let run = &self.batch.runs[run];
        let keys = self.parts[run.part].cache().head(self.cached, head);
        // The queries of a run lie together, head by head.
        let first_query = (run.first_row * self.n_heads() + head * run.n + first) * group;
        let format = keys.rows().keys.cache_type().query_format();
        let heads = head * group..(head + 1) * group;
        Tile {
            ops: kernels.ops(),
            attention: kernels.attention(),
            head: keys,
            queries: self.queries.in_format(format, first_query..first_query + n_tokens * group),
            n_tokens,
            group,
            n_keys: run.position + first + 1,
            n_all: self.n_all(run),
            window: self.spec.window,
            softcap: self.spec.softcap,
            log_temperature: self.spec.log_temperature,
            slopes: self.of_heads.slopes.map(|slopes| &slopes[heads.clone()]),
            relative: self.of_heads.relative.map(|of| of.heads(heads.clone())),
            sinks: self.of_heads.sinks.map(|sinks| &sinks[heads]),
        }
    }

    /// Computes `outputs: [n, n_head * head_dim_v]`, each part for one key-value head and some tokens
    /// of a run.
    fn divide_tokens(&self, scratch: &mut [Scratch], outputs: &mut [f32]) {
        let (n, work) = (self.batch.n(), self.work());
        let even = self.compute.piece_len(self.n_groups(), work / self.n_groups());
        let n_tokens = even.min(max_tokens(self.group()));
        let group_len = self.group() * self.spec.head_dim_v;
        let outputs = ByToken(ColumnsMut::new(outputs, self.spec.n_embd_out(), n));
        let by_run = pieces_of(outputs, self.batch.runs.iter().map(|run| run.n)).enumerate();
        let parts = by_run.flat_map(|(run, outputs)| {
            let by_head = pieces(outputs.0, group_len).enumerate();
            by_head.flat_map(move |(head, outputs)| {
                let by_token = pieces(ByToken(outputs), n_tokens).enumerate();
                by_token.map(move |(i, outputs)| ((run, head, i * n_tokens), outputs.0))
            })
        });
        type Part<'a> = ((usize, usize, usize), ColumnsMut<'a>);
        self.compute.for_each_with(work, scratch, parts, |scratch, ((run, head, first), out): Part<'_>| {
            attend_tile(&self.tile(run, head, first, out.n_cols()), scratch, out);
        });
    }

    /// The part and its token that row `row` of the batch belongs to.
    fn token_of(&self, row: usize) -> (usize, usize) {
        let run = self.batch.runs.partition_point(|run| run.first_row + run.n <= row);
        (run, row - self.batch.runs[run].first_row)
    }

    /// As [`Ready::divide_tokens`], each part for one token, one key-value head and some chunks.
    fn divide_chunks(&self, scratch: &mut [Scratch], partials: &mut [f32], outputs: &mut [f32]) {
        let head_dim_v = self.spec.head_dim_v;
        let (n_heads, n_groups) = (self.n_heads(), self.n_groups());
        let partial_len = self.group() * Partial::query_len(head_dim_v);
        // A window that does not begin with a chunk has keys of one more.
        let n_chunks = self.max_keys().div_ceil(CHUNK) + usize::from(self.spec.window.is_some());
        let partials = &mut partials[..n_groups * n_chunks * partial_len];
        let work = self.work();
        let parts_per_group = self.compute.n_parts(work).div_ceil(n_groups);
        let chunks_per_part = n_chunks.div_ceil(parts_per_group);
        let by_group = partials.chunks_mut(n_chunks * partial_len).enumerate();
        let parts = by_group.flat_map(|(group, partials)| {
            let by_chunk = partials.chunks_mut(chunks_per_part * partial_len).enumerate();
            by_chunk.map(move |(i, partials)| (group, i * chunks_per_part, partials))
        });
        let tile = |group: usize| {
            let (run, token) = self.token_of(group / n_heads);
            self.tile(run, group % n_heads, token, 1)
        };
        let body = |scratch: &mut Scratch, (group, first, partials): (usize, usize, &mut [f32])| {
            let tile = tile(group);
            let partials = partials.chunks_exact_mut(partial_len);
            for (chunk, partial) in tile.chunks().skip(first).zip(partials) {
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
                let mut running = tile.start(q);
                values.fill(0.0);
                for partial in partials.chunks_exact_mut(partial_len).take(tile.chunks().len()) {
                    running.join(values, &Partial::new(partial, tile.group, head_dim_v), q);
                }
                running.finish(values);
            }
        });
    }
}

/// Computes the outputs of a tile, `out: [n_tokens, group * head_dim_v]`, chunk by chunk.
fn attend_tile(tile: &Tile<'_>, scratch: &mut Scratch, mut out: ColumnsMut<'_>) {
    let head_dim_v = out.n_rows() / tile.group;
    let running = &mut scratch.running[..tile.n_queries()];
    running.iter_mut().enumerate().for_each(|(q, running)| *running = tile.start(q));
    for token in 0..tile.n_tokens {
        out.column(token).fill(0.0);
    }
    for chunk in tile.chunks() {
        let mut partial = Partial::new(&mut scratch.partial, tile.n_queries(), head_dim_v);
        tile.attend_chunk(chunk, &mut scratch.scores, &mut scratch.visible, &mut partial);
        for (q, running) in running.iter_mut().enumerate() {
            if !tile.visible(chunk, q).is_empty() {
                let values = &mut out.column(q / tile.group)[q % tile.group * head_dim_v..][..head_dim_v];
                running.join(values, &partial, q);
            }
        }
    }
    for (q, running) in running.iter().enumerate() {
        running.finish(&mut out.column(q / tile.group)[q % tile.group * head_dim_v..][..head_dim_v]);
    }
}
