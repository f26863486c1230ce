//! The buffers of a step, allocated once for a batch.

use super::attention::AttentionSpace;
use super::batch::{Batch, BatchPart};
use super::experts::ExpertSpace;
use super::inputs::{Formats, Inputs};
use super::memory::Buffers;
use super::weights::{FeedForward, Weights};
use super::{Hparams, KvTypes};
use crate::error::Result;

/// What a [`Workspace`] is for.
#[derive(Clone, Copy, Debug)]
pub struct Dimensions {
    /// Tokens of a batch, of all sequences together.
    pub n_batch: usize,
    /// Positions of the longest sequence.
    pub n_ctx: usize,
    /// The types of keys and values.
    pub kv_types: KvTypes,
    /// Threads.
    pub n_threads: usize,
}

/// Every buffer that a step of up to `n_batch` tokens needs. Rows belong to tokens.
#[derive(Debug)]
pub struct Workspace {
    pub(super) n_batch: usize,
    n_ctx: usize,
    kv_types: KvTypes,
    /// The tokens of the rows.
    pub(super) batch: Batch,
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
    /// Buffers for batches of these dimensions.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn new(hparams: &Hparams, weights: &Weights, dimensions: Dimensions) -> Result<Self> {
        Self::with(&mut Buffers::real(), hparams, weights, dimensions)
    }

    /// Bytes that buffers of these dimensions take.
    pub fn n_bytes(hparams: &Hparams, weights: &Weights, dimensions: Dimensions) -> u64 {
        // Counting fails at nothing.
        Buffers::count(|buffers| Self::with(buffers, hparams, weights, dimensions)).unwrap_or(u64::MAX)
    }

    fn with(
        buffers: &mut Buffers,
        hparams: &Hparams,
        weights: &Weights,
        dimensions: Dimensions,
    ) -> Result<Self> {
        let Dimensions { n_batch, n_ctx, kv_types, .. } = dimensions;
        let n_embd = hparams.n_embd;
        let formats = AllFormats::of(weights);
        let n_rows = if hparams.n_expert > 0 { n_batch * hparams.n_expert_used } else { n_batch };
        let experts = match hparams.n_expert {
            0 => None,
            n => {
                Some(ExpertSpace::new(buffers, [n, hparams.n_expert_used, n_embd], n_batch, formats.normed)?)
            }
        };
        let normed = formats.normed.union(Formats::of([&weights.output]));
        Ok(Self {
            n_batch,
            n_ctx,
            kv_types,
            batch: Batch::reserved(buffers, n_batch)?,
            residual: buffers.zeroed(0.0, n_batch, n_embd)?,
            delta: buffers.zeroed(0.0, n_batch, n_embd)?,
            normed: Inputs::new(buffers, n_batch, n_embd, normed)?,
            attention: AttentionSpace::new(buffers, hparams, dimensions, formats.heads)?,
            feed_forward: FeedForwardSpace {
                gate: buffers.zeroed(0.0, n_rows, hparams.n_ff)?,
                up: buffers.zeroed(0.0, n_rows, hparams.n_ff)?,
                hidden: Inputs::new(buffers, n_rows, hparams.n_ff, formats.hidden)?,
            },
            experts,
        })
    }

    /// Whether these buffers do for a part of a batch of the model with `hparams`.
    ///
    /// # Panics
    /// If they do not.
    pub(super) fn check<P: BatchPart>(&self, part: &P, hparams: &Hparams) {
        let (cache, n) = (part.cache(), part.ids().len());
        assert!(cache.is_of(hparams), "a cache of another model");
        assert!(n <= cache.n_ctx() - cache.n_past(), "{n} ids exceed the cache");
        assert!(
            cache.n_ctx() <= self.n_ctx && cache.types() == self.kv_types,
            "a cache of another evaluator"
        );
        assert!(part.n_wanted() <= n, "{} outputs of {n} ids", part.n_wanted());
    }

    /// Keeps of `batch` and of the streams and angles, `[n_embd, n_angles]` a row, the rows whose
    /// logits are wanted.
    pub(super) fn keep_wanted<P: BatchPart>(
        &mut self,
        parts: &[P],
        batch: &mut Batch,
        [n_embd, n_angles]: [usize; 2],
    ) {
        let Self { residual, attention, .. } = self;
        batch.keep_wanted(parts, |from, to| {
            let rows =
                [(&mut *residual, n_embd), (&mut attention.cos, n_angles), (&mut attention.sin, n_angles)];
            for (values, width) in rows {
                values.copy_within(from * width..(from + 1) * width, to * width);
            }
        });
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
