//! The decoder: from ids to logits.
//!
//! A batch is rows of several sequences, which every matrix sees at once; only attention tells the
//! sequences apart.
//!
//! A pre-norm transformer. The stream of each token starts as its row of the embedding; every layer
//! adds its attention and then its feed-forward part to it; the last norm and the output matrix turn
//! it into logits. A layer takes five parallel regions: q, k, v; the heads; the output; gate and up;
//! down. What lies between them is divided by tokens, and runs on the caller's thread for one token.

use gguf_simd::ops::Norm;

use super::arch::Wiring;
use super::attention::Does;
use super::batch::{Batch, BatchPart};
use super::compute::{Compute, RowsMut, pieces};
use super::inputs::{Formats, InputRows};
use super::product::Product;
use super::rope::Frequencies;
use super::weights::{FeedForward, Weights};
use super::workspace::{Dimensions, Workspace};
use super::{Family, Hparams};
use crate::error::Result;
use crate::gguf::GgufFile;

/// A model ready to compute: its numbers, its weights, its angles.
#[derive(Debug)]
pub struct Decoder {
    pub(super) hparams: Hparams,
    pub(super) wiring: Wiring,
    pub(super) weights: Weights,
    pub(super) frequencies: Frequencies,
}

impl Decoder {
    /// Finds and checks the weights of a model of `family`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] and [`crate::Error::Unsupported`], naming the tensor at fault.
    pub fn load(file: &GgufFile, family: &Family, hparams: Hparams) -> Result<Self> {
        let weights = Weights::load(file, family, &hparams)?;
        let frequencies = Frequencies::new(&hparams.rope, weights.rope_freqs.as_deref());
        Ok(Self { hparams, wiring: family.wiring, weights, frequencies })
    }

    /// The model's numbers.
    pub fn hparams(&self) -> &Hparams {
        &self.hparams
    }

    /// The buffers for batches of these dimensions.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn workspace(&self, dimensions: Dimensions) -> Result<Workspace> {
        Workspace::new(&self.hparams, &self.weights, dimensions)
    }

    /// Bytes that [`Decoder::workspace`] takes.
    pub fn workspace_bytes(&self, dimensions: Dimensions) -> u64 {
        Workspace::n_bytes(&self.hparams, &self.weights, dimensions)
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
        parts.iter().for_each(|part| space.check(part, &self.hparams));
        let mut batch = core::mem::take(&mut space.batch);
        batch.fill(parts);
        assert!(batch.n() <= space.n_batch, "{} ids exceed the batch", batch.n());
        self.embed(compute, space, &batch);
        let last = self.weights.layers.len() - 1;
        for (i, layer) in self.weights.layers.iter().enumerate() {
            compute.before(i);
            // Of the last layer only what is wanted is computed, once keys and values are stored.
            let is_all_wanted = || parts.iter().all(|part| part.n_wanted() == part.ids().len());
            let mut does = Does::Both;
            if i == last && !is_all_wanted() {
                self.attend(compute, (i, layer), parts, space, &batch, Does::Store);
                space.keep_wanted(parts, &mut batch, [self.hparams.n_embd, self.frequencies.len()]);
                does = Does::Attend;
            }
            if batch.n() == 0 {
                break;
            }
            self.attend(compute, (i, layer), parts, space, &batch, does);
            match &layer.feed_forward {
                FeedForward::Dense(part) => self.feed_forward(compute, layer, part, space, batch.n()),
                FeedForward::Experts(experts) => self.route(compute, layer, experts, space, batch.n()),
            }
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
        self.norm(compute, &self.weights.output_norm, Formats::of([output]), space, n);
        compute.multiply([Product::of_matrix(output, space.normed.for_consumer(output, 0..n), out)]);
    }

    /// Starts the streams with the rows of the embedding, and computes the angles of the positions.
    fn embed(&self, compute: Compute<'_>, space: &mut Workspace, batch: &Batch) {
        let (n_embd, n_angles) = (self.hparams.n_embd, self.frequencies.len());
        let n = batch.n();
        // A sine and a cosine take about as long as 256 multiply-adds of a matrix.
        let row_work = n_embd + 256 * n_angles;
        let piece_len = compute.piece_len(n, row_work);
        let streams = pieces(RowsMut { values: &mut space.residual[..n * n_embd], width: n_embd }, piece_len);
        let angles = |values| pieces(RowsMut { values, width: n_angles }, piece_len);
        let cos = angles(&mut space.attention.cos[..n * n_angles]);
        let sin = angles(&mut space.attention.sin[..n * n_angles]);
        let parts = streams.zip(cos).zip(sin).zip(batch.tokens.chunks(piece_len));
        compute.for_each(n * row_work, parts, |(((streams, cos), sin), tokens)| {
            let angles = cos.values.chunks_exact_mut(n_angles).zip(sin.values.chunks_exact_mut(n_angles));
            for (token, (cos, sin)) in tokens.iter().zip(angles) {
                self.frequencies.angles(token.position, cos, sin);
            }
            for (stream, token) in streams.values.chunks_exact_mut(n_embd).zip(tokens) {
                let row = self.weights.token_embd.rows(token.id as usize..token.id as usize + 1);
                compute.kernels.decode(row.block_type, row.bytes, stream);
            }
        });
    }

    /// Norms the streams of the first `n` rows and quantises them into `formats`.
    pub(super) fn norm(
        &self,
        compute: Compute<'_>,
        weight: &[f32],
        formats: Formats,
        space: &mut Workspace,
        n: usize,
    ) {
        let n_embd = self.hparams.n_embd;
        let norm = Norm::Rms { weight, eps: self.hparams.rms_eps };
        let piece_len = compute.piece_len(n, 4 * n_embd);
        let streams = space.residual[..n * n_embd].chunks(piece_len * n_embd);
        let parts = streams.zip(pieces(space.normed.rows_mut(0..n), piece_len));
        compute.for_each(4 * n * n_embd, parts, |(streams, mut normed): (&[f32], InputRows<'_>)| {
            normed.for_each(formats, |i, out| {
                compute.kernels.norm(norm, &streams[i * n_embd..][..n_embd], out);
            });
        });
    }
}
