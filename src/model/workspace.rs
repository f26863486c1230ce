//! The buffers of a step, allocated once for a batch.

use super::batch::{Batch, BatchPart, Dimensions};
use super::inputs::{Formats, Inputs};
use super::layer::ffn::FfnScratch;
use super::layer::per_layer::PerLayerScratch;
use super::layer::{
    AltUpScratch, AttentionScratch, FfnInput, HeadMambaScratch, HyperLayer, HyperScratch, KdaScratch, Layer,
    Mamba1Scratch, MlaScratch, NgramScratch, RecurrentScratch, Rwkv6Scratch, Rwkv7Scratch, Stream,
    StreamNeeds,
};
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
    pub(super) n_ctx: usize,
    kv_types: KvTypes,
    /// The tokens of the rows.
    pub(super) batch: Batch,
    pub(super) stream: Stream,
    /// `[n_batch, n_embd]`, if rows of the embedding are normed or added to.
    pub(super) spare: Vec<f32>,
    /// `[n_batch, n_embd]`: the normed stream, input of most matrices.
    pub(super) normed: Inputs,
    /// The same for feed-forward parts beside mixers that have a norm of their own.
    pub(super) ffn_input: Option<Inputs>,
    /// `[n_batch, n_embd]`: the stream that a layer's mixer has not added to, for routers that look at it.
    pub(super) early: Option<Inputs>,
    /// `[n_batch]`: of the rows' positions, for each rotary embedding.
    pub(super) angles: Vec<Angles>,
    pub(super) attention: Option<AttentionScratch>,
    pub(super) mla: Option<MlaScratch>,
    pub(super) recurrent: Option<RecurrentScratch>,
    pub(super) mamba1: Option<Mamba1Scratch>,
    pub(super) head_mamba: Option<HeadMambaScratch>,
    pub(super) rwkv6: Option<Rwkv6Scratch>,
    pub(super) rwkv7: Option<Rwkv7Scratch>,
    pub(super) kda: Option<KdaScratch>,
    pub(super) ffn: FfnScratch,
    pub(super) per_layer: Option<PerLayerScratch>,
    /// The streams of tokens that have several.
    pub(super) altup: Option<AltUpScratch>,
    pub(super) hyper: Option<HyperScratch>,
    pub(super) ngram: Option<NgramScratch>,
}

impl Workspace {
    /// Buffers for batches of these dimensions of streams of `n_embd` elements.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(weights: &Weights, n_embd: usize, dimensions: Dimensions) -> Result<Self> {
        Self::with(&mut Buffers::real(), weights, n_embd, dimensions)
    }

    /// Bytes that these buffers take.
    pub(super) fn n_bytes(weights: &Weights, n_embd: usize, dimensions: Dimensions) -> u64 {
        // Counting fails at nothing.
        Buffers::count(|buffers| Self::with(buffers, weights, n_embd, dimensions)).unwrap_or(u64::MAX)
    }

    fn with(buffers: &mut Buffers, weights: &Weights, n_embd: usize, dimensions: Dimensions) -> Result<Self> {
        let Dimensions { n_batch, n_ctx, kv_types, .. } = dimensions;
        let layers = &weights.layers;
        let output = Formats::of(weights.output.iter().map(|output| &output.matrix));
        let normed = layers.iter().map(Layer::input_formats).fold(output, Formats::union);
        let needs = layers.iter().map(Layer::stream_needs).fold(StreamNeeds::default(), StreamNeeds::union);
        let beside = layers.iter().filter(|layer| matches!(layer.ffn_input, FfnInput::Beside(_)));
        let beside = beside.map(|layer| layer.ffn.input_formats()).reduce(Formats::union);
        let early = layers
            .iter()
            .filter_map(|layer| layer.ffn.early().map(|early| early.formats))
            .reduce(Formats::union);
        let attention: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.attention_needs()).collect();
        let recurrent: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.recurrent_needs()).collect();
        let mla: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.as_mla()).collect();
        let mamba1: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.as_mamba1()).collect();
        let head_mamba: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.as_head_mamba()).collect();
        let rwkv6: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.as_rwkv6()).collect();
        let rwkv7: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.as_rwkv7()).collect();
        let kda: Vec<_> = layers.iter().filter_map(|layer| layer.mixer.as_kda()).collect();
        let is_embedding_changed =
            weights.position_embd.is_some() || weights.token_types.is_some() || weights.embed_norm.is_some();
        let n_spare = if is_embedding_changed { n_batch } else { 0 };
        let angles = weights.frequencies.iter().map(|of| Angles::new(buffers, n_batch, of.len()));
        let angles = angles.collect::<Result<_>>()?;
        let inputs = layers.iter().filter_map(|layer| layer.per_layer.as_ref());
        let per_layer = weights.per_layer.as_ref().map(|part| part.scratch(buffers, inputs, n_batch, n_embd));
        let streams = layers.iter().filter_map(|layer| layer.altup.as_ref());
        let altup = weights
            .altup
            .as_ref()
            .map(|ends| AltUpScratch::new(buffers, ends, streams, (dimensions, n_embd)));
        let places = layers.iter().filter_map(|layer| layer.hyper.as_ref()).flat_map(HyperLayer::places);
        let places: Vec<_> = places.chain(&weights.hyper_end).collect();
        let ngrams: Vec<_> = layers.iter().filter_map(|layer| layer.ngram.as_ref()).collect();
        Ok(Self {
            n_batch,
            n_ctx,
            kv_types,
            batch: Batch::reserved(buffers, n_batch)?,
            per_layer: per_layer.transpose()?,
            altup: altup.transpose()?,
            hyper: HyperScratch::new(buffers, &places, dimensions)?,
            ngram: NgramScratch::new(buffers, &ngrams, dimensions)?,
            stream: Stream::new(buffers, n_batch, n_embd, needs)?,
            spare: buffers.zeroed(0.0, n_spare, n_embd)?,
            normed: Inputs::new(buffers, n_batch, n_embd, normed)?,
            ffn_input: beside.map(|formats| Inputs::new(buffers, n_batch, n_embd, formats)).transpose()?,
            early: early.map(|formats| Inputs::new(buffers, n_batch, n_embd, formats)).transpose()?,
            angles,
            attention: AttentionScratch::new(buffers, &attention, dimensions)?,
            mla: MlaScratch::new(buffers, &mla, n_batch)?,
            recurrent: RecurrentScratch::new(buffers, &recurrent, dimensions)?,
            mamba1: Mamba1Scratch::new(buffers, &mamba1, dimensions)?,
            head_mamba: HeadMambaScratch::new(buffers, &head_mamba, dimensions)?,
            rwkv6: Rwkv6Scratch::new(buffers, &rwkv6, dimensions)?,
            rwkv7: Rwkv7Scratch::new(buffers, &rwkv7, dimensions)?,
            kda: KdaScratch::new(buffers, &kda, dimensions)?,
            ffn: FfnScratch::new(buffers, layers.iter().map(|layer| &layer.ffn), n_batch, n_embd)?,
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

    /// Keeps of `batch`, the streams and what belongs to them the rows whose logits are wanted.
    pub(super) fn keep_wanted<P: BatchPart>(&mut self, parts: &[P], batch: &mut Batch) {
        batch.keep_wanted(parts, |from, to| {
            self.stream.move_row(from, to);
            self.angles.iter_mut().for_each(|angles| angles.move_row(from, to));
            self.per_layer.iter_mut().for_each(|per_layer| per_layer.move_row(from, to));
            self.altup.iter_mut().for_each(|altup| altup.move_row(from, to));
            self.hyper.iter_mut().for_each(|hyper| hyper.move_row(from, to));
        });
    }
}
