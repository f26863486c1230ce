//! The buffers of a step, allocated once for a batch.

use super::attention::AttentionSpace;
use super::experts::ExpertSpace;
use super::inputs::{Formats, Inputs};
use super::memory::zeroed;
use super::weights::{FeedForward, Weights};
use super::{Hparams, KvCache};
use crate::error::Result;

/// Every buffer that a step of up to `n_batch` tokens needs. Rows belong to tokens.
#[derive(Debug)]
pub struct Workspace {
    pub(super) n_batch: usize,
    /// `[n_batch, n_embd]`: the residual stream.
    pub(super) residual: Vec<f32>,
    /// `[n_batch, n_embd]`: what a part adds to the residual stream.
    pub(super) delta: Vec<f32>,
    /// `[n_batch, n_embd]`: the normed stream, input of most matrices.
    pub(super) normed: Inputs,
    pub(super) attention: AttentionSpace,
    pub(super) feed_forward: FeedForwardSpace,
    pub(super) experts: Option<ExpertSpace>,
}

/// The buffers of a gated feed-forward part.
#[derive(Debug)]
pub(super) struct FeedForwardSpace {
    /// `[n_rows, n_ff]`.
    pub(super) gate: Vec<f32>,
    /// `[n_rows, n_ff]`.
    pub(super) up: Vec<f32>,
    /// `[n_rows, n_ff]`: their product, input of the down matrix.
    pub(super) hidden: Inputs,
}

impl Workspace {
    /// Buffers for batches of up to `n_batch` tokens that continue `cache`, and `n_threads` threads.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn new(
        hparams: &Hparams,
        weights: &Weights,
        cache: &KvCache,
        n_batch: usize,
        n_threads: usize,
    ) -> Result<Self> {
        let n_embd = hparams.n_embd;
        let formats = AllFormats::of(weights);
        let n_rows = if hparams.n_expert > 0 { n_batch * hparams.n_expert_used } else { n_batch };
        let experts = match hparams.n_expert {
            0 => None,
            n => Some(ExpertSpace::new([n, hparams.n_expert_used, n_embd], n_batch, formats.normed)?),
        };
        let normed = formats.normed.union(Formats::of([&weights.output]));
        Ok(Self {
            n_batch,
            residual: zeroed(0.0, n_batch, n_embd)?,
            delta: zeroed(0.0, n_batch, n_embd)?,
            normed: Inputs::new(n_batch, n_embd, normed)?,
            attention: AttentionSpace::new(hparams, cache, n_batch, n_threads, formats.heads)?,
            feed_forward: FeedForwardSpace {
                gate: zeroed(0.0, n_rows, hparams.n_ff)?,
                up: zeroed(0.0, n_rows, hparams.n_ff)?,
                hidden: Inputs::new(n_rows, hparams.n_ff, formats.hidden)?,
            },
            experts,
        })
    }

    /// Bytes that the buffers take for every [`gguf_simd::attention::CHUNK`] positions of the context, whatever the batch.
    pub fn chunk_bytes(hparams: &Hparams, n_threads: usize) -> usize {
        AttentionSpace::chunk_bytes(hparams, n_threads)
    }
}

/// What the matrices of all layers together want of each input.
#[derive(Default)]
struct AllFormats {
    normed: Formats,
    heads: Formats,
    hidden: Formats,
}

impl AllFormats {
    fn of(weights: &Weights) -> Self {
        weights.layers.iter().fold(Self::default(), |all, layer| {
            let (q, k, v) = (&layer.q.matrix, &layer.k.matrix, &layer.v.matrix);
            let (gate, up, down) = match &layer.feed_forward {
                FeedForward::Dense(part) => (&part.gate.matrix, &part.up.matrix, &part.down.matrix),
                FeedForward::Experts(experts) => (&experts.gate, &experts.up, &experts.down),
            };
            let router = match &layer.feed_forward {
                FeedForward::Dense(_) => None,
                FeedForward::Experts(experts) => Some(&experts.router),
            };
            Self {
                normed: all.normed.union(Formats::of([q, k, v, gate, up].into_iter().chain(router))),
                heads: all.heads.union(Formats::of([&layer.attn_output.matrix])),
                hidden: all.hidden.union(Formats::of([down])),
            }
        })
    }
}
