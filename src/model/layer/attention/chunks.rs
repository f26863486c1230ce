//! Attention over chunks of keys.
//!
//! Softmax needs the greatest score and the sum of the exponentials before it can weigh a value.
//! Here each chunk of [`CHUNK`] keys, counted from the first position, has its own, and the
//! chunks are rescaled and combined afterwards (Dao et al. 2022, "FlashAttention",
//! section 3.1). For a query with the scores `s` and the values `v`, a chunk leaves
//!
//! ```text
//! max = max s      sum = Σ e^(s - max)      values = Σ e^(s - max) v
//! ```
//!
//! and joins the chunks before it, in the order of the positions, by
//!
//! ```text
//! top = max(max', max)      sum' e^(max' - top) + sum e^(max - top)      likewise the values
//! ```
//!
//! until the values are divided by the sum. A sink, a score without a value, is a chunk of its own before the
//! first. A window leaves out chunks and, of those at its ends, keys. Each step performs the same float operations whether one thread
//! takes the chunks of a token in turn or several threads share them, so the bits are the same.

use std::ops::Range;

use gguf_simd::attention::{Attention, CHUNK};
use gguf_simd::ops::Ops;
use gguf_simd::{Activation, ColumnsMut};

use super::relative::HeadBiases;
use crate::model::spec::layer::Window;
use crate::model::state::kv::KvHead;

/// The queries of a key-value head for consecutive tokens.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) ops: &'a Ops,
    pub(super) attention: &'a Attention,
    pub(super) head: KvHead<'a>,
    /// `[n_tokens, group]` queries in the format of the keys.
    pub(super) queries: Activation<'a>,
    pub(super) n_tokens: usize,
    /// Query heads that share the keys.
    pub(super) group: usize,
    /// Keys up to the first token's own; each further one has one more.
    pub(super) n_keys: usize,
    /// All keys of the text, if queries see those behind them too.
    pub(super) n_all: Option<usize>,
    /// Which of them it sees.
    pub(super) window: Option<Window>,
    /// Bounds the scores.
    pub(super) softcap: Option<f32>,
    /// The position behind which the scores of queries rise.
    pub(super) log_temperature: Option<usize>,
    /// `[group]`: what scores fall by with each position of distance.
    pub(super) slopes: Option<&'a [f32]>,
    /// Of `group` heads: what is added to scores by how far keys lie from queries.
    pub(super) relative: Option<HeadBiases<'a>>,
    /// `[group]`: the scores of the sinks.
    pub(super) sinks: Option<&'a [f32]>,
}

/// What a chunk leaves of each query.
pub(super) struct Partial<'a> {
    /// `[n_queries]`: the greatest score.
    max: &'a mut [f32],
    /// `[n_queries]`: the sum of the exponentials.
    sum: &'a mut [f32],
    /// `[n_queries, head_dim_v]`: the values, each times its exponential.
    values: &'a mut [f32],
}

impl<'a> Partial<'a> {
    /// The floats that a query takes.
    pub(super) fn query_len(head_dim_v: usize) -> usize {
        head_dim_v + 2
    }

    /// Views the first floats of `buffer` for `n_queries` queries.
    pub(super) fn new(buffer: &'a mut [f32], n_queries: usize, head_dim_v: usize) -> Self {
        let (max, rest) = buffer.split_at_mut(n_queries);
        let (sum, rest) = rest.split_at_mut(n_queries);
        Self { max, sum, values: &mut rest[..n_queries * head_dim_v] }
    }
}

/// The greatest score and the sum of the exponentials of a query over the chunks so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    max: f32,
    sum: f32,
}

impl Running {
    /// Before the first chunk; the values are zero.
    pub(super) const NONE: Self = Self { max: f32::NEG_INFINITY, sum: 0.0 };

    /// After a sink with this score.
    pub(super) fn after_sink(score: f32) -> Self {
        Self { max: score, sum: 1.0 }
    }

    /// Adds what a chunk left of query `q` to `values: [head_dim_v]`.
    pub(super) fn join(&mut self, values: &mut [f32], partial: &Partial<'_>, q: usize) {
        let (max, n) = (partial.max[q], values.len());
        let top = if max > self.max { max } else { self.max };
        let (before, now) = (libm::expf(self.max - top), libm::expf(max - top));
        *self = Self { max: top, sum: self.sum * before + partial.sum[q] * now };
        for (value, more) in values.iter_mut().zip(&partial.values[q * n..]) {
            *value = *value * before + more * now;
        }
    }

    /// Divides the values by the sum of the exponentials.
    pub(super) fn finish(self, values: &mut [f32]) {
        let scale = 1.0 / self.sum;
        values.iter_mut().for_each(|value| *value *= scale);
    }
}

impl Tile<'_> {
    pub(super) fn n_queries(&self) -> usize {
        self.n_tokens * self.group
    }

    /// The chunks with keys that some query sees.
    pub(super) fn chunks(&self) -> Range<usize> {
        let first = self.first_key(0) / CHUNK;
        first..self.end_key(self.n_tokens - 1).div_ceil(CHUNK)
    }

    /// Before the first chunk, for query `q`.
    pub(super) fn start(&self, q: usize) -> Running {
        self.sinks.map_or(Running::NONE, |sinks| Running::after_sink(sinks[q % self.group]))
    }

    /// The first key that the queries of a token see.
    fn first_key(&self, token: usize) -> usize {
        let n_keys = self.n_keys + token;
        match self.window {
            None => 0,
            Some(Window::Sliding(window)) => n_keys.saturating_sub(window),
            Some(Window::Chunked(len)) => (n_keys - 1) / len * len,
            Some(Window::Around(n)) => (n_keys - 1).saturating_sub(n),
        }
    }

    /// One more than the last key that the queries of a token see.
    fn end_key(&self, token: usize) -> usize {
        let n_keys = self.n_keys + token;
        match (self.n_all, self.window) {
            (None, _) => n_keys,
            (Some(all), Some(Window::Around(n))) => all.min(n_keys + n),
            (Some(all), _) => all,
        }
    }

    /// The keys of a chunk that query `q` sees, counted from the chunk's first.
    pub(super) fn visible(&self, chunk: usize, q: usize) -> Range<usize> {
        let token = q / self.group;
        let start = chunk * CHUNK;
        let end = self.end_key(token).saturating_sub(start).min(CHUNK);
        self.first_key(token).saturating_sub(start).min(end)..end
    }

    /// Computes what `chunk`, which is among [`Tile::chunks`], leaves of each query that sees some of its
    /// keys. Of the scratch buffers `scores` has room for [`CHUNK`] floats and `visible` for a number a query.
    pub(super) fn attend_chunk(
        &self,
        chunk: usize,
        scores: &mut [f32],
        visible: &mut [usize],
        partial: &mut Partial<'_>,
    ) {
        let (start, n_queries) = (chunk * CHUNK, self.n_queries());
        // Windows only move on: the first query sees the first key, and the last one the last.
        let (first, end) = (self.visible(chunk, 0).start, self.visible(chunk, n_queries - 1).end);
        let n = end - first;
        let keys = start + first..start + end;
        let rows = self.head.rows();
        let scores = &mut scores[..n_queries * n];
        let columns = ColumnsMut::new(&mut *scores, n, n_queries);
        self.attention.scores(rows.keys, self.head.keys(keys.clone()), self.queries, columns);
        if let Some(cap) = self.softcap {
            self.ops.softcap(scores, cap);
        }
        if let Some(n_flat) = self.log_temperature {
            for (q, scores) in scores.chunks_exact_mut(n).enumerate() {
                let position = self.n_keys + q / self.group - 1;
                if position > n_flat {
                    let times = (libm::log(position as f64) / libm::log(n_flat as f64)) as f32;
                    scores.iter_mut().for_each(|score| *score *= times);
                }
            }
        }
        if let Some(slopes) = self.slopes {
            for (q, scores) in scores.chunks_exact_mut(n).enumerate() {
                let (slope, own) = (slopes[q % self.group], (self.n_keys + q / self.group - 1) as f32);
                for (key, score) in keys.clone().zip(scores) {
                    *score -= slope * (own - key as f32).abs();
                }
            }
        }
        if let Some(relative) = self.relative {
            for (q, scores) in scores.chunks_exact_mut(n).enumerate() {
                relative.add(q % self.group, self.n_keys + q / self.group - 1, keys.clone(), scores);
            }
        }
        let visible = &mut visible[..n_queries];
        for (q, n_visible) in visible.iter_mut().enumerate() {
            let seen = self.visible(chunk, q);
            let seen = seen.start.max(first) - first..seen.end.max(first) - first;
            let scores = &mut scores[q * n..][..n];
            // The weight 0 leaves a sum as it is.
            scores[..seen.start].fill(0.0);
            *n_visible = seen.end;
            (partial.max[q], partial.sum[q]) = self.ops.exponentials(&mut scores[seen]);
        }
        let head_dim_v = partial.values.len() / n_queries;
        let columns = ColumnsMut::new(partial.values, head_dim_v, n_queries);
        self.attention.weighted_sums(rows.holding_values(), self.head.values(keys), scores, visible, columns);
    }
}

#[cfg(test)]
mod tests {
    use gguf_simd::Kernels;
    use gguf_simd::attention::{CacheRows, CacheType};

    use super::*;
    use crate::model::KvCache;
    use crate::model::state::kv::KvRows;

    const HEAD_DIM: usize = 8;
    const N_KEYS: usize = 2 * CHUNK + 30;

    /// Numbers in -2..2 that look random.
    fn noise(n: usize, mut seed: u32) -> Vec<f32> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1u32 << 22) as f32 - 2.0
        };
        (0..n).map(|_| next()).collect()
    }

    fn filled_cache(keys: &[f32], values: &[f32]) -> KvCache {
        let rows = CacheRows::new(CacheType::F16, HEAD_DIM).expect("F16 takes any head");
        let mut cache = KvCache::of_one_head(KvRows { keys: rows, values: Some(rows) }, N_KEYS);
        for (i, (key, value)) in keys.chunks_exact(HEAD_DIM).zip(values.chunks_exact(HEAD_DIM)).enumerate() {
            let mut heads = cache.heads_mut(0, i).next().expect("the chunk");
            let mut head = heads.next().expect("the head");
            head.store(Attention::SCALAR, i % CHUNK, key, value);
        }
        cache
    }

    /// Softmax over all keys at once, in `f64`.
    fn exact(query: &[f32], keys: &[f32], values: &[f32], n_keys: usize) -> Vec<f64> {
        let rows = |x: &'_ [f32]| -> Vec<Vec<f64>> {
            x.chunks_exact(HEAD_DIM).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
        };
        let (query, keys, values) = (rows(query), rows(keys), rows(values));
        let score = |key: &Vec<f64>| key.iter().zip(&query[0]).map(|(k, q)| k * q).sum::<f64>();
        let weights: Vec<f64> = keys[..n_keys].iter().map(|key| libm::exp(score(key))).collect();
        let total: f64 = weights.iter().sum();
        let element = |i: usize| weights.iter().zip(&values).map(|(w, v)| w * v[i]).sum::<f64>() / total;
        (0..HEAD_DIM).map(element).collect()
    }

    #[test]
    fn chunks_put_together_are_the_softmax_over_all_keys() {
        let (keys, values) = (noise(N_KEYS * HEAD_DIM, 1), noise(N_KEYS * HEAD_DIM, 2));
        let cache = filled_cache(&keys, &values);
        let (n_tokens, group) = (2, 3);
        let queries = noise(n_tokens * group * HEAD_DIM, 3);
        // The second token is the first that sees the last chunk.
        for n_keys in [1, CHUNK, 2 * CHUNK, N_KEYS - 1] {
            let tile = Tile {
                ops: Kernels::best().ops(),
                attention: Kernels::best().attention(),
                head: cache.head(0, 0),
                queries: Activation::F32(&queries),
                n_tokens,
                group,
                n_keys,
                n_all: None,
                window: None,
                softcap: None,
                log_temperature: None,
                slopes: None,
                relative: None,
                sinks: None,
            };
            let n_queries = tile.n_queries();
            let (mut scores, mut visible) = (vec![0.0; n_queries * CHUNK], vec![0; n_queries]);
            let mut partial = vec![f32::NAN; n_queries * Partial::query_len(HEAD_DIM)];
            let mut found = vec![0.0; n_queries * HEAD_DIM];
            let mut running = vec![Running::NONE; n_queries];
            for chunk in tile.chunks() {
                let mut partial = Partial::new(&mut partial, n_queries, HEAD_DIM);
                tile.attend_chunk(chunk, &mut scores, &mut visible, &mut partial);
                for q in (0..n_queries).filter(|&q| !tile.visible(chunk, q).is_empty()) {
                    running[q].join(&mut found[q * HEAD_DIM..][..HEAD_DIM], &partial, q);
                }
            }
            for (q, found) in found.chunks_exact_mut(HEAD_DIM).enumerate() {
                running[q].finish(found);
                let query = &queries[q * HEAD_DIM..][..HEAD_DIM];
                let exact = exact(query, &keys, &values, n_keys + q / group);
                for (found, exact) in found.iter().zip(exact) {
                    // Keys and values are rounded to eleven bits.
                    assert!((f64::from(*found) - exact).abs() < 0.01, "{found} for {exact}, {n_keys} keys");
                }
            }
        }
    }
}
