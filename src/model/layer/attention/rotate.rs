//! From the products of a token to its query and its place in the cache: norms of heads, rotation, scale.

use gguf_simd::attention::CHUNK;
use gguf_simd::ops::Ops;
use gguf_simd::{ColumnsMut, Kernels};

use super::scratch::{AttentionScratch, Scratch};
use super::{Attention, Rows};
use crate::model::batch::{BatchPart, Run};
use crate::model::compute::{ByToken, Compute, equal_pieces, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows};
use crate::model::layer::Norm;
use crate::model::rope::Angles;
use crate::model::spec::layer::{QkNormExtent, RopeOrder, RopeUse, TemperatureSpec};
use crate::model::state::kv::HeadMut;

/// A key-value head of a run, with the queries that share it.
struct Head<'a> {
    number: usize,
    run: &'a Run,
    /// Where keys and values are stored.
    cache: Option<HeadMut<'a>>,
    /// `[n, head_dim_k]`.
    keys: ColumnsMut<'a>,
    /// `[n, group * head_dim_k]`: as they are, and as they are to be.
    queries: (ColumnsMut<'a>, InputRows<'a>),
}

/// Norms and rotates queries and keys, scales the queries and brings them into the format that the keys
/// take, and appends keys and values to the caches.
pub(super) fn rotate_and_store<P: BatchPart>(
    part: &Attention,
    compute: Compute<'_>,
    rows: &mut Rows<'_, P>,
    scratch: &mut AttentionScratch,
) {
    let spec = &part.spec;
    let &mut Rows { ref mut parts, batch, angles, layer, does, .. } = rows;
    let has_own = part.k.is_some();
    let does_rows = |n| {
        let (n_keys, n_queries) = does.rows(n);
        (if has_own { n_keys } else { 0 }, n_queries)
    };
    let (group, (n_keys, n_queries)) = (spec.group(), does_rows(batch.n()));
    let runs = || batch.runs.iter();
    let AttentionScratch { q, k, v, queries, query_format, scratch, .. } = scratch;
    queries.set_n_in(spec.head_dim_k);
    let q = ColumnsMut::new(&mut q[..n_queries * spec.n_embd_q()], spec.n_embd_q(), n_queries);
    let k = ColumnsMut::new(&mut k[..n_keys * spec.n_embd_k()], spec.n_embd_k(), n_keys);
    let q = pieces_of(ByToken(q), runs().map(|run| does_rows(run.n).1));
    let k = pieces_of(ByToken(k), runs().map(|run| does_rows(run.n).0));
    let queries = queries.rows_mut(0..n_queries * spec.n_head);
    let queries = pieces_of(queries, runs().map(|run| does_rows(run.n).1 * spec.n_head));
    let by_run = batch.runs_of(parts).flat_map(|(part, runs)| {
        // The runs of a part lie in consecutive chunks of its cache, a chunk each.
        let first = runs.first().map_or(0, |run| run.position);
        let mut chunks = (n_keys > 0).then(|| part.cache_mut().heads_mut(layer, first));
        runs.iter().map(move |run| (run, chunks.as_mut().and_then(Iterator::next)))
    });
    let parts = by_run.zip(q.zip(queries).zip(k)).flat_map(|((run, mut cache), ((q, queries), k))| {
        let k = pieces(k.0, spec.head_dim_k);
        let q = pieces(q.0, group * spec.head_dim_k).zip(equal_pieces(queries, spec.n_head_kv));
        k.zip(q).enumerate().map(move |(number, (keys, queries))| {
            let cache = cache.as_mut().and_then(Iterator::next);
            Head { number, run, cache, keys, queries }
        })
    });
    // A rotation or conversion takes about as long as eight multiply-adds of a matrix.
    let work = 8 * (n_keys * (spec.n_embd_k() + spec.n_embd_v()) + n_queries * spec.n_embd_q());
    let context = Context { part, kernels: compute.kernels, angles, values: v, format: *query_format };
    compute.for_each_with(work, scratch, parts, |scratch, head: Head<'_>| context.run(head, scratch));
}

/// What all heads have in common.
struct Context<'a> {
    part: &'a Attention,
    kernels: &'a Kernels,
    angles: &'a [Angles],
    /// `[n, n_head_kv * head_dim_v]`.
    values: &'a [f32],
    format: Formats,
}

impl Context<'_> {
    fn run(&self, head: Head<'_>, scratch: &mut Scratch) {
        let spec = &self.part.spec;
        let Head { number, run, cache, mut keys, queries: (mut queries, mut ready) } = head;
        let ops = self.kernels.ops();
        let spare = &mut scratch.row;
        if let Some(mut cache) = cache {
            for i in 0..keys.n_cols() {
                let (row, key) = (run.first_row + i, keys.column(i));
                self.place(ops, (self.part.k_norm.as_ref(), number), key, row, spare);
                let value = row * spec.n_embd_v() + number * spec.head_dim_v;
                let mut value = &self.values[value..value + spec.head_dim_v];
                if let Some(norm) = &self.part.v_norm {
                    let normed = &mut spare[..spec.head_dim_v];
                    norm.row(ops, value, 0, normed);
                    value = normed;
                }
                cache.store(self.kernels.attention(), run.position % CHUNK + i, key, value);
            }
        }
        let group = spec.group();
        let scaled = ready.floats().chunks_exact_mut(group * spec.head_dim_k);
        for (i, scaled) in scaled.enumerate() {
            let rotated = queries.column(i);
            for (j, query) in rotated.chunks_exact_mut(spec.head_dim_k).enumerate() {
                let head = number * group + j;
                self.place(ops, (self.part.q_norm.as_ref(), head), query, run.first_row + i, spare);
            }
            let scale = spec.scale * temperature(spec.temperature, run.position + i);
            for (scaled, x) in scaled.iter_mut().zip(rotated) {
                *scaled = *x * scale;
            }
        }
        ready.quantize(self.kernels, self.format);
    }

    /// Norms a head of a query or key by the `norm` it may have, and rotates it to the position of `row`.
    fn place(
        &self,
        ops: &Ops,
        (norm, number): (Option<&Norm>, usize),
        head: &mut [f32],
        row: usize,
        spare: &mut [f32],
    ) {
        let spec = &self.part.spec;
        let of_heads = spec.qk_norm.filter(|qk_norm| qk_norm.extent != QkNormExtent::Token);
        let norm = norm.zip(of_heads);
        let apply = |head: &mut [f32], spare: &mut [f32]| {
            let Some((norm, qk_norm)) = norm else { return };
            let is_shared = qk_norm.extent == QkNormExtent::Head;
            let first = if is_shared { 0 } else { number * head.len() };
            let unnormed = &mut spare[..head.len()];
            unnormed.copy_from_slice(head);
            norm.row(ops, unnormed, first, head);
        };
        let is_after = of_heads.is_some_and(|qk_norm| qk_norm.is_after_rope);
        if !is_after {
            apply(head, spare);
        }
        if let Some(rope) = spec.rope {
            rotate(ops, rope, head, &self.angles[rope.index], row);
        }
        if is_after {
            apply(head, spare);
        }
    }
}

/// Rotates the leading elements of a head to the position of `row`.
pub(super) fn rotate(ops: &Ops, rope: RopeUse, head: &mut [f32], angles: &Angles, row: usize) {
    let (cos, sin) = angles.of(row);
    let head = &mut head[..2 * cos.len()];
    match rope.order {
        RopeOrder::Pairs => ops.rope_pairs(head, cos, sin),
        RopeOrder::Halves => ops.rope_halves(head, cos, sin),
    }
}

/// What multiplies the scores of a query at `position` beside their scale.
pub(super) fn temperature(spec: Option<TemperatureSpec>, position: usize) -> f32 {
    let Some(TemperatureSpec { beta, original_context, offset }) = spec else { return 1.0 };
    let times = ((position + offset) / original_context) as f64;
    (1.0 + f64::from(beta) * libm::log(1.0 + times)) as f32
}
