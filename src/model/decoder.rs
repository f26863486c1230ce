//! The decoder: from ids to logits.
//!
//! A batch is rows of several sequences, which every matrix sees at once; only attention tells the
//! sequences apart.
//!
//! A pre-norm transformer. The stream of each token starts as its row of the embedding; every layer
//! adds its attention and then its feed-forward part to it; the last norm and the output matrix turn
//! it into logits. A layer takes five parallel regions: q, k, v; the heads; the output; gate and up;
//! down. What lies between them is divided by tokens, and runs on the caller's thread for one token.

use super::batch::{Batch, BatchPart, Dimensions};
use super::compute::{Compute, pieces};
use super::hparams::Hparams;
use super::inputs::Formats;
use super::layer::Layer;
use super::layer::attention::{Does, Rows};
use super::load::Weights;
use super::product::Product;
use super::reads::Reads;
use super::rope::Frequencies;
use super::spec::kv::KvSpec;
use super::workspace::Workspace;
use crate::error::Result;
use crate::gguf::GgufFile;
use crate::model::arch::Family;

/// A model ready to compute: its numbers, its weights, its angles.
#[derive(Debug)]
pub struct Decoder {
    hparams: Hparams,
    kv_spec: KvSpec,
    weights: Weights,
    frequencies: Frequencies,
}

impl Decoder {
    /// Finds and checks the weights of a model of `family`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] and [`crate::Error::Unsupported`], naming the tensor at fault.
    pub fn load(file: &GgufFile, family: &Family, hparams: Hparams) -> Result<Self> {
        let weights = Weights::load(file, family, &hparams)?;
        let frequencies = Frequencies::new(&hparams.rope, weights.rope_freqs.as_deref());
        Ok(Self { kv_spec: hparams.kv_spec(), hparams, weights, frequencies })
    }

    /// The model's numbers.
    pub fn hparams(&self) -> &Hparams {
        &self.hparams
    }

    /// What its layers keep of every position.
    pub fn kv_spec(&self) -> &KvSpec {
        &self.kv_spec
    }

    /// What passes read of the file.
    pub fn reads(&self) -> Reads {
        Reads::new(&self.weights, self.hparams.n_expert, self.hparams.n_expert_used)
    }

    /// The buffers for batches of these dimensions.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn workspace(&self, dimensions: Dimensions) -> Result<Workspace> {
        Workspace::new(&self.weights, self.frequencies.len(), dimensions)
    }

    /// Bytes that [`Decoder::workspace`] takes.
    pub fn workspace_bytes(&self, dimensions: Dimensions) -> u64 {
        Workspace::n_bytes(&self.weights, self.frequencies.len(), dimensions)
    }

    /// Evaluates the ids of all `parts` as one batch, appends them to their caches, and leaves the
    /// streams of those whose logits are wanted, part by part, for [`Decoder::logits`]. What a sequence
    /// gets does not depend on the others.
    ///
    /// # Panics
    /// If there are more ids than `space` is for or a cache has room for, an id is not below `n_vocab`,
    /// more logits are wanted than there are ids, or a cache was made for another model, more positions
    /// or another type of keys than `space`.
    pub fn forward<P: BatchPart>(&self, compute: Compute<'_>, parts: &mut [P], space: &mut Workspace) {
        parts.iter().for_each(|part| space.check(part, &self.kv_spec));
        let mut batch = core::mem::take(&mut space.batch);
        batch.fill(parts);
        assert!(batch.n() <= space.n_batch, "{} ids exceed the batch", batch.n());
        for part in parts.iter_mut() {
            let n = part.ids().len();
            part.cache_mut().begin(n);
        }
        self.embed(compute, space, &batch);
        let last = self.weights.layers.len() - 1;
        for (i, layer) in self.weights.layers.iter().enumerate() {
            compute.before(i);
            // Of the last layer only what is wanted is computed, once keys and values are stored.
            let is_all_wanted = || parts.iter().all(|part| part.n_wanted() == part.ids().len());
            let mut does = Does::Both;
            if i == last && !is_all_wanted() {
                attend(compute, (i, layer), parts, space, (&batch, Does::Store));
                space.keep_wanted(parts, &mut batch);
                does = Does::Attend;
            }
            if batch.n() == 0 {
                break;
            }
            attend(compute, (i, layer), parts, space, (&batch, does));
            feed_forward(compute, layer, space, batch.n());
        }
        for part in parts {
            let n = part.ids().len();
            part.cache_mut().advance(n);
        }
        space.batch = batch;
    }

    /// Computes the logits that the last [`Decoder::forward`] was asked for into
    /// `out: [n_wanted, n_vocab]`.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn logits(&self, compute: Compute<'_>, space: &mut Workspace, out: &mut [f32]) {
        let (output, n) = (&self.weights.output, space.batch.n());
        assert_eq!(out.len(), n * self.hparams.n_vocab, "logits of {n} tokens");
        compute.before(self.weights.layers.len());
        let norm = &self.weights.output_norm;
        norm.step(compute, &space.stream, n, Formats::of([output]), &mut space.normed);
        compute.multiply([Product::of_matrix(output, space.normed.for_consumer(output, 0..n), out)]);
    }

    /// Starts the streams with the rows of the embedding, and computes the angles of the positions.
    fn embed(&self, compute: Compute<'_>, space: &mut Workspace, batch: &Batch) {
        let (n, n_embd) = (batch.n(), self.hparams.n_embd);
        space.angles.fill(compute, &self.frequencies, n, |row| batch.tokens[row].position);
        let piece_len = compute.piece_len(n, n_embd);
        let parts = pieces(space.stream.rows_mut(n), piece_len).zip(batch.tokens.chunks(piece_len));
        compute.for_each(n * n_embd, parts, |(streams, tokens)| {
            for (stream, token) in streams.values.chunks_exact_mut(n_embd).zip(tokens) {
                let row = self.weights.token_embd.rows(token.id as usize..token.id as usize + 1);
                compute.kernels.decode(row.block_type, row.bytes, stream);
            }
        });
    }
}

/// Lets a layer, which comes with its number, do its attention for the rows of a batch.
fn attend<P: BatchPart>(
    compute: Compute<'_>,
    (i, layer): (usize, &Layer),
    parts: &mut [P],
    space: &mut Workspace,
    (batch, does): (&Batch, Does),
) {
    let Workspace { stream, normed, angles, attention, .. } = space;
    layer.attn_norm.step(compute, stream, batch.n(), layer.attention.input_formats(), normed);
    let mut rows = Rows { parts, batch, angles, layer: i, does };
    layer.attention.step(compute, &mut rows, normed, attention, stream);
}

/// Lets a layer do its feed-forward part for the first `n` rows.
fn feed_forward(compute: Compute<'_>, layer: &Layer, space: &mut Workspace, n: usize) {
    let Workspace { stream, normed, ffn, .. } = space;
    layer.ffn_norm.step(compute, stream, n, layer.ffn.input_formats(), normed);
    layer.ffn.step(compute, normed, n, ffn, stream);
}
