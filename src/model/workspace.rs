//! The buffers of a step, allocated once for a batch.

use super::batch::{Batch, BatchPart, Dimensions};
use super::inputs::{Formats, Inputs};
use super::layer::attention::AttentionScratch;
use super::layer::ffn::FfnScratch;
use super::layer::{Layer, Stream};
use super::load::Weights;
use super::memory::Buffers;
use super::rope::Angles;
use super::spec::kv::KvSpec;
use super::state::kv::KvTypes;
use crate::error::Result;

/// Every buffer that a step of up to `n_batch` tokens needs. Rows belong to tokens.
#[derive(Debug)]
pub struct Workspace {
    pub(super) n_batch: usize,
    n_ctx: usize,
    kv_types: KvTypes,
    /// The tokens of the rows.
    pub(super) batch: Batch,
    pub(super) stream: Stream,
    /// `[n_batch, n_embd]`: the normed stream, input of most matrices.
    pub(super) normed: Inputs,
    /// `[n_batch]`: of the rows' positions.
    pub(super) angles: Angles,
    pub(super) attention: AttentionScratch,
    pub(super) ffn: FfnScratch,
}

impl Workspace {
    /// Buffers for batches of these dimensions, with `n_angles` rotary angles a position.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(weights: &Weights, n_angles: usize, dimensions: Dimensions) -> Result<Self> {
        Self::with(&mut Buffers::real(), weights, n_angles, dimensions)
    }

    /// Bytes that these buffers take.
    pub(super) fn n_bytes(weights: &Weights, n_angles: usize, dimensions: Dimensions) -> u64 {
        // Counting fails at nothing.
        Buffers::count(|buffers| Self::with(buffers, weights, n_angles, dimensions)).unwrap_or(u64::MAX)
    }

    fn with(
        buffers: &mut Buffers,
        weights: &Weights,
        n_angles: usize,
        dimensions: Dimensions,
    ) -> Result<Self> {
        let Dimensions { n_batch, n_ctx, kv_types, .. } = dimensions;
        let (layers, spec) = (&weights.layers, &weights.spec.attention);
        let n_embd = spec.n_embd;
        let normed =
            layers.iter().map(Layer::input_formats).fold(Formats::of([&weights.output]), Formats::union);
        Ok(Self {
            n_batch,
            n_ctx,
            kv_types,
            batch: Batch::reserved(buffers, n_batch)?,
            stream: Stream::new(buffers, n_batch, n_embd)?,
            normed: Inputs::new(buffers, n_batch, n_embd, normed)?,
            angles: Angles::new(buffers, n_batch, n_angles)?,
            attention: AttentionScratch::new(
                buffers,
                spec,
                layers.iter().map(|layer| &layer.attention),
                dimensions,
            )?,
            ffn: FfnScratch::new(buffers, layers.iter().map(|layer| &layer.ffn), n_batch)?,
        })
    }

    /// Whether these buffers do for a part of a batch of the model with `kv_spec`.
    ///
    /// # Panics
    /// If they do not.
    pub(super) fn check<P: BatchPart>(&self, part: &P, kv_spec: &KvSpec) {
        let (cache, n) = (part.cache(), part.ids().len());
        assert!(cache.is_of(kv_spec), "a cache of another model");
        assert!(n <= cache.n_ctx() - cache.n_past(), "{n} ids exceed the cache");
        assert!(
            cache.n_ctx() <= self.n_ctx && cache.types() == self.kv_types,
            "a cache of another evaluator"
        );
        assert!(part.n_wanted() <= n, "{} outputs of {n} ids", part.n_wanted());
    }

    /// Keeps of `batch`, the streams and the angles the rows whose logits are wanted.
    pub(super) fn keep_wanted<P: BatchPart>(&mut self, parts: &[P], batch: &mut Batch) {
        batch.keep_wanted(parts, |from, to| {
            self.stream.move_row(from, to);
            self.angles.move_row(from, to);
        });
    }
}
