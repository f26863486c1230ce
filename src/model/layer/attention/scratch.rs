//! The buffers of attention.

use gguf_simd::attention::CHUNK;

use super::chunks::{Partial, Running};
use crate::error::Result;
use crate::model::batch::Dimensions;
use crate::model::compute::MAX_PARTS;
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::spec::layer::AttentionSpec;
use crate::model::weights::Matrix;

/// Queries that a chunk of keys meets together, unless a group alone is larger: with their scores, the
/// keys and the values they fit into the second cache.
const MAX_QUERIES: usize = 64;

/// The buffers of attention.
#[derive(Debug)]
pub(in crate::model) struct AttentionScratch {
    /// `[n_batch, n_head * head_dim_k]`.
    pub(super) q: Vec<f32>,
    /// `[n_batch, n_head_kv * head_dim_k]`.
    pub(super) k: Vec<f32>,
    /// `[n_batch, n_head_kv * head_dim_v]`.
    pub(super) v: Vec<f32>,
    /// `[n_batch, n_head]` or `[n_batch, n_head * head_dim_v]`: what gates the heads' outputs.
    pub(super) gate: Vec<f32>,
    /// `[n_batch, n_head, 2, head_dim_k]`: queries and gates, where one matrix has both.
    pub(super) with_gates: Vec<f32>,
    /// For each run of a batch `[n_head_kv, n_tokens, group, head_dim_k]`: the queries, rotated and
    /// scaled.
    pub(super) queries: Inputs,
    /// The format that the keys take their queries in.
    pub(super) query_format: Formats,
    /// `[n_batch, n_head * head_dim_v]`: the heads' outputs.
    pub(super) heads: Inputs,
    /// `[n_threads]`.
    pub(super) scratch: Vec<Scratch>,
    /// What chunks leave, where the chunks of a token are divided between threads:
    /// `[n_tokens, n_head_kv, n_chunks]` times what a group of queries takes.
    pub(super) partials: Vec<f32>,
}

/// What attention in a layer needs buffers for.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Needs<'a> {
    pub(in crate::model) spec: &'a AttentionSpec,
    /// What the heads' outputs are quantised for, if for anything.
    pub(in crate::model) output: Option<&'a Matrix>,
    /// Gates of a token.
    pub(in crate::model) n_gate: usize,
}

/// The buffers of one thread.
#[derive(Debug)]
pub(super) struct Scratch {
    /// `[n_queries, CHUNK]`.
    pub(super) scores: Vec<f32>,
    /// `[n_queries]`.
    pub(super) visible: Vec<usize>,
    /// What a chunk leaves of the queries.
    pub(super) partial: Vec<f32>,
    /// `[n_queries]`.
    pub(super) running: Vec<Running>,
    /// A head, or all heads of a token, while it is normed.
    pub(super) row: Vec<f32>,
}

/// Tokens whose queries of a group of heads meet the keys together, at most.
pub(super) fn max_tokens(group: usize) -> usize {
    (MAX_QUERIES / group).max(1)
}

/// Groups of queries (a token's for a key-value head), up to which the chunks of each are divided
/// between threads: beyond, there is one for every thread and enough to even out, and nothing has to
/// be put together afterwards.
pub(super) fn max_divided(n_threads: usize) -> usize {
    if n_threads == 1 { 0 } else { (2 * n_threads - 1).min(MAX_PARTS - 1) }
}

impl AttentionScratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[Needs<'_>],
        dimensions: Dimensions,
    ) -> Result<Option<Self>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let Dimensions { n_batch, n_ctx, kv_types, n_threads } = dimensions;
        let most = |of: &dyn Fn(&AttentionSpec) -> usize| {
            parts.iter().map(|part| of(part.spec)).max().unwrap_or_default()
        };
        let n_queries = most(&|spec| spec.group() * max_tokens(spec.group()).min(n_batch));
        let head_dim_v = most(&|spec| spec.head_dim_v);
        let n_row = most(&|spec| spec.n_embd_q().max(spec.n_embd_k()).max(spec.n_embd_out()));
        let query_format = Formats::only(kv_types.keys.query_format());
        let formats = Formats::of(parts.iter().filter_map(|part| part.output));
        let n_gate = parts.iter().map(|part| part.n_gate).max().unwrap_or_default();
        let n_with_gates =
            most(&|spec| if spec.n_query_rows() > spec.n_embd_q() { spec.n_query_rows() } else { 0 });
        let (head, n_heads) = (most(&|spec| spec.head_dim_k), most(&|spec| spec.n_head));
        // Layers may have few long heads or many short ones: rows for the most, of the longest.
        let queries = Inputs::new(buffers, n_batch * n_heads, head, query_format)?;
        // A window may have keys of one more chunk than of its length.
        let n_chunks = n_ctx.div_ceil(CHUNK) + 1;
        Ok(Some(Self {
            q: buffers.zeroed(0.0, n_batch, most(&AttentionSpec::n_embd_q))?,
            k: buffers.zeroed(0.0, n_batch, most(&AttentionSpec::n_embd_k))?,
            v: buffers.zeroed(0.0, n_batch, most(&AttentionSpec::n_embd_v))?,
            gate: buffers.zeroed(0.0, n_batch, n_gate)?,
            with_gates: buffers.zeroed(0.0, n_batch, n_with_gates)?,
            queries,
            query_format,
            heads: Inputs::new(buffers, n_batch, most(&AttentionSpec::n_embd_out), formats)?,
            scratch: (0..n_threads)
                .map(|_| Scratch::new(buffers, n_queries, head_dim_v, n_row))
                .collect::<Result<_>>()?,
            partials: buffers.zeroed(0.0, n_chunks, most(&|spec| Self::chunk_len(spec, n_threads)))?,
        }))
    }

    /// Floats of `partials` for each chunk: none if there are always enough heads for the threads.
    fn chunk_len(spec: &AttentionSpec, n_threads: usize) -> usize {
        let n_tokens = max_divided(n_threads) / spec.n_head_kv;
        n_tokens.saturating_mul(spec.n_head).saturating_mul(Partial::query_len(spec.head_dim_v))
    }
}

impl Scratch {
    fn new(buffers: &mut Buffers, n_queries: usize, head_dim_v: usize, n_row: usize) -> Result<Self> {
        Ok(Self {
            scores: buffers.zeroed(0.0, n_queries, CHUNK)?,
            visible: buffers.zeroed(0, n_queries, 1)?,
            partial: buffers.zeroed(0.0, n_queries, Partial::query_len(head_dim_v))?,
            running: buffers.zeroed(Running::NONE, n_queries, 1)?,
            row: buffers.zeroed(0.0, n_row, 1)?,
        })
    }
}
