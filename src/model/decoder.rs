//! The decoder: from ids to logits.
//!
//! A pre-norm transformer. The stream of each token starts as its row of the embedding; every layer
//! adds its attention and then its feed-forward part to it; the last norm and the output matrix turn
//! it into logits. A layer takes five parallel regions: q, k, v; the heads; the output; gate and up;
//! down. What lies between them is divided by tokens, and runs on the caller's thread for one token.

use std::ops::Range;

use gguf_simd::ops::Norm;

use super::arch::Wiring;
use super::attention::Batch;
use super::compute::{Compute, RowsMut, pieces};
use super::inputs::{Formats, InputRows};
use super::product::Product;
use super::rope::Frequencies;
use super::weights::{FeedForward, Weights};
use super::workspace::Workspace;
use super::{Family, Hparams, KvCache};
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

    /// The buffers for batches of up to `n_batch` tokens that continue `cache`.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn workspace(&self, cache: &KvCache, n_batch: usize, n_threads: usize) -> Result<Workspace> {
        Workspace::new(&self.hparams, &self.weights, cache, n_batch, n_threads)
    }

    /// Evaluates `ids` at the positions that follow those in `cache`, appends them to it, and leaves
    /// the streams of the tokens `wanted` (indices into `ids`) for [`Decoder::logits`].
    ///
    /// # Panics
    /// If there are more ids than a batch holds or the cache has room for, an id is not below
    /// `n_vocab`, or `wanted` is not inside `ids`.
    pub fn forward(
        &self,
        compute: Compute<'_>,
        cache: &mut KvCache,
        space: &mut Workspace,
        ids: &[u32],
        wanted: Range<usize>,
    ) {
        let (n, n_past) = (ids.len(), cache.n_past());
        assert!(n <= space.n_batch && n <= cache.n_ctx() - n_past, "{n} ids exceed the batch or the cache");
        assert!(wanted.start <= wanted.end && wanted.end <= n, "outputs {wanted:?} of {n} ids");
        self.embed(compute, space, ids, n_past);
        let last = self.weights.layers.len() - 1;
        for (i, layer) in self.weights.layers.iter().enumerate() {
            // Of the last layer only what is wanted is computed, once keys and values are stored.
            let rows = if i == last { wanted.clone() } else { 0..n };
            let batch = Batch { n, n_past, rows: rows.clone() };
            self.attend(compute, layer, cache.layer_mut(i), space, &batch);
            if rows.is_empty() {
                break;
            }
            match &layer.feed_forward {
                FeedForward::Dense(part) => self.feed_forward(compute, layer, part, space, rows),
                FeedForward::Experts(experts) => self.route(compute, layer, experts, space, rows),
            }
        }
        cache.advance(n);
    }

    /// Computes the logits of tokens of the last [`Decoder::forward`], `rows` being a part of what was
    /// wanted there, into `out: [rows.len(), n_vocab]`.
    ///
    /// # Panics
    /// If `rows` is not inside the batch or `out` has another length.
    pub fn logits(&self, compute: Compute<'_>, space: &mut Workspace, rows: Range<usize>, out: &mut [f32]) {
        let output = &self.weights.output;
        self.norm(compute, &self.weights.output_norm, Formats::of([output]), space, rows.clone());
        compute.multiply([Product::of_matrix(output, space.normed.for_consumer(output, rows), out)]);
    }

    /// Starts the streams with the rows of the embedding, and computes the angles of the positions.
    fn embed(&self, compute: Compute<'_>, space: &mut Workspace, ids: &[u32], n_past: usize) {
        let (n_embd, n_angles) = (self.hparams.n_embd, self.frequencies.len());
        let n = ids.len();
        // A sine and a cosine take about as long as 256 multiply-adds of a matrix.
        let row_work = n_embd + 256 * n_angles;
        let piece_len = compute.piece_len(n, row_work);
        let streams = pieces(RowsMut { values: &mut space.residual[..n * n_embd], width: n_embd }, piece_len);
        let angles = |values| pieces(RowsMut { values, width: n_angles }, piece_len);
        let cos = angles(&mut space.attention.cos[..n * n_angles]);
        let sin = angles(&mut space.attention.sin[..n * n_angles]);
        let parts = streams.zip(cos).zip(sin).zip(ids.chunks(piece_len)).enumerate();
        compute.for_each(n * row_work, parts, |(i, (((streams, cos), sin), ids))| {
            let positions = n_past + i * piece_len..;
            let angles = cos.values.chunks_exact_mut(n_angles).zip(sin.values.chunks_exact_mut(n_angles));
            for (position, (cos, sin)) in positions.zip(angles) {
                self.frequencies.angles(position, cos, sin);
            }
            for (stream, id) in streams.values.chunks_exact_mut(n_embd).zip(ids) {
                let row = self.weights.token_embd.rows(*id as usize..*id as usize + 1);
                compute.kernels.decode(row.block_type, row.bytes, stream);
            }
        });
    }

    /// Norms the streams of `rows` and quantises them into `formats`.
    pub(super) fn norm(
        &self,
        compute: Compute<'_>,
        weight: &[f32],
        formats: Formats,
        space: &mut Workspace,
        rows: Range<usize>,
    ) {
        let n_embd = self.hparams.n_embd;
        let norm = Norm::Rms { weight, eps: self.hparams.rms_eps };
        let n_rows = rows.len();
        let piece_len = compute.piece_len(n_rows, 4 * n_embd);
        let streams = space.residual[rows.start * n_embd..rows.end * n_embd].chunks(piece_len * n_embd);
        let parts = streams.zip(pieces(space.normed.rows_mut(rows), piece_len));
        compute.for_each(4 * n_rows * n_embd, parts, |(streams, mut normed): (&[f32], InputRows<'_>)| {
            normed.for_each(formats, |i, out| {
                compute.kernels.norm(norm, &streams[i * n_embd..][..n_embd], out);
            });
        });
    }
}
