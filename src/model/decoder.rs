//! The decoder, or encoder: from ids to logits, or to streams.
//!
//! A batch is rows of several sequences, which every matrix sees at once; only mixers tell the sequences
//! apart.
//!
//! The stream of each token starts as its row of the embedding; every layer adds the outputs of its mixer and
//! of its feed-forward part to it; the last norm and the output matrix turn it into logits. A plain layer
//! takes five parallel regions: q, k, v; the heads; the output; gate and up; down. What lies between them is
//! divided by tokens, and runs on the caller's thread for one token.

use std::collections::HashMap;

use super::adapter::Adapter;
use super::batch::{Batch, BatchPart, Dimensions};
use super::compute::{Compute, RowsMut, pieces};
use super::inputs::Formats;
use super::layer::rows::Does;
use super::layer::{Layer, norm_into};
use super::load::Weights;
use super::product::Product;
use super::reads::Reads;
use super::spec::ModelSpec;
use super::spec::kv::KvSpec;
use super::steps::{feed_forward, mix};
use super::weights::NewBlocks;
use super::workspace::Workspace;
use crate::error::Result;
use crate::gguf::GgufFile;

/// A model ready to compute: what it is, and its weights.
#[derive(Debug)]
pub struct Decoder {
    spec: ModelSpec,
    kv_spec: KvSpec,
    weights: Weights,
}

impl Decoder {
    /// Finds and checks the weights of a model that `arch` calls `spec`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] and [`crate::Error::Unsupported`], naming the tensor at fault.
    pub fn load(file: &GgufFile, arch: &str, spec: ModelSpec) -> Result<Self> {
        Self::load_with(file, arch, spec, None, &[])
    }

    /// As [`Decoder::load`], with `replaced` blocks in the place of those of some tensors, and `adapters`.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        file: &GgufFile,
        arch: &str,
        spec: ModelSpec,
        replaced: Option<&HashMap<String, NewBlocks>>,
        adapters: &[Adapter],
    ) -> Result<Self> {
        let weights = Weights::load(file, arch, &spec, replaced, adapters)?;
        Ok(Self { kv_spec: spec.kv_spec(), spec, weights })
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// What its layers keep of every position.
    pub fn kv_spec(&self) -> &KvSpec {
        &self.kv_spec
    }

    /// What passes read of the file.
    pub fn reads(&self) -> Reads {
        let (n_expert, n_expert_used) = self.spec.experts();
        Reads::new(&self.weights, n_expert, n_expert_used)
    }

    /// The buffers for batches of these dimensions.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn workspace(&self, dimensions: Dimensions) -> Result<Workspace> {
        Workspace::new(&self.weights, self.spec.n_embd, dimensions)
    }

    /// Bytes that [`Decoder::workspace`] takes.
    pub fn workspace_bytes(&self, dimensions: Dimensions) -> u64 {
        Workspace::n_bytes(&self.weights, self.spec.n_embd, dimensions)
    }

    /// Evaluates the ids of all `parts` as one batch, appends them to their caches, and leaves the
    /// streams of those whose logits are wanted, part by part, for [`Decoder::logits`]. What a sequence
    /// gets does not depend on the others.
    ///
    /// Returns whether it came to an end. A pass that is stopped takes back what it began: the caches have the
    /// positions that they had, or those of a checkpoint before where there are recurrent mixers.
    ///
    /// # Panics
    /// If there are more ids than `space` is for or a cache has room for, an id is not below `n_vocab`,
    /// more logits are wanted than there are ids, or a cache was made for another model, more positions
    /// or another type of keys than `space`.
    pub fn forward<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        parts: &mut [P],
        space: &mut Workspace,
    ) -> bool {
        parts.iter().for_each(|part| space.check(part, &self.kv_spec));
        let mut batch = core::mem::take(&mut space.batch);
        batch.fill(parts);
        assert!(batch.n() <= space.n_batch, "{} ids exceed the batch", batch.n());
        let compute = compute.for_tokens(batch.n());
        for part in parts.iter_mut() {
            let n = part.ids().len();
            part.cache_mut().begin(n);
        }
        self.embed(compute, space, &batch);
        let last = self.weights.layers.len() - 1;
        for (i, layer) in self.weights.layers.iter().enumerate() {
            if compute.is_stopped() {
                parts.iter_mut().for_each(|part| part.cache_mut().abandon());
                space.batch = batch;
                return false;
            }
            compute.before(i);
            if let (Some(part), Some(scratch)) = (&layer.altup, &mut space.altup) {
                part.predict(compute, (&mut space.stream, batch.n()), scratch);
            }
            // Of the last layer only what is wanted is computed, once keys and values are stored.
            let is_all_wanted = || parts.iter().all(|part| part.n_wanted() == part.ids().len());
            let is_cut = i == last && !is_all_wanted();
            if !is_cut {
                mix(compute, (i, layer), parts, space, (&batch, Does::Both));
            } else {
                // What a recurrent mixer remembers takes most of its work: outputs come with it.
                let does = if layer.mixer.stores_apart() { Does::Store } else { Does::Both };
                mix(compute, (i, layer), parts, space, (&batch, does));
                space.keep_wanted(parts, &mut batch);
            }
            if batch.n() == 0 {
                break;
            }
            if is_cut && layer.mixer.stores_apart() {
                mix(compute, (i, layer), parts, space, (&batch, Does::Attend));
            }
            feed_forward(compute, (i, layer), space, batch.n());
        }
        if let (Some(ends), Some(scratch)) = (&self.weights.altup, &mut space.altup) {
            ends.end(compute, (&mut space.stream, batch.n()), scratch);
        }
        if let (Some(end), Some(scratch)) = (&self.weights.hyper_end, &mut space.hyper) {
            end.gather(compute, (&mut space.stream, batch.n()), scratch);
        }
        for part in parts {
            let n = part.ids().len();
            part.cache_mut().advance(n);
        }
        space.batch = batch;
        true
    }

    /// Computes the logits that the last [`Decoder::forward`] was asked for into
    /// `out: [n_wanted, n_vocab]`.
    ///
    /// # Panics
    /// If `out` has another length, or the model is an encoder.
    pub fn logits(&self, compute: Compute<'_>, space: &mut Workspace, out: &mut [f32]) {
        let (output, n) = (self.weights.output.as_ref().expect("a model with logits"), space.batch.n());
        let compute = compute.for_tokens(n);
        let n_vocab = self.spec.n_vocab;
        assert_eq!(out.len(), n * n_vocab, "logits of {n} tokens");
        compute.before(self.weights.layers.len());
        let norm = self.weights.output_norm.as_ref();
        let formats = Formats::of([&output.matrix]);
        norm_into(norm, compute, space.stream.rows(n), formats, &mut space.normed);
        let x = space.normed.for_consumer(&output.matrix, 0..n);
        compute.multiply([Product::of(output, x, &mut *out)]);
        if let Some((first, end)) = self.spec.head.never {
            out.chunks_exact_mut(n_vocab).for_each(|logits| logits[first..end].fill(f32::MIN));
        }
        let (scale, softcap) = (self.spec.head.scale, self.spec.head.softcap);
        if scale == 1.0 && softcap.is_none() {
            return;
        }
        let piece_len = compute.piece_len(out.len(), 16);
        compute.for_each(16 * out.len(), out.chunks_mut(piece_len), |logits| {
            logits.iter_mut().for_each(|logit| *logit *= scale);
            if let Some(cap) = softcap {
                compute.kernels.ops().softcap(logits, cap);
            }
        });
    }

    /// The last streams of the rows that the last [`Decoder::forward`] was asked for, normed as for the output
    /// matrix: `[n_wanted, n_embd]`.
    pub fn hidden<'s>(&self, compute: Compute<'_>, space: &'s mut Workspace) -> &'s [f32] {
        self.hidden_rows(compute, space.batch.n(), space)
    }

    /// The first `n` streams, normed as for the output matrix: `[n, n_embd]`.
    pub(super) fn hidden_rows<'s>(
        &self,
        compute: Compute<'_>,
        n: usize,
        space: &'s mut Workspace,
    ) -> &'s [f32] {
        let norm = self.weights.output_norm.as_ref();
        norm_into(norm, compute, space.stream.rows(n), Formats::default(), &mut space.normed);
        space.normed.floats(0..n)
    }

    /// What the model makes of `n` pooled streams, `rows: [n, n_embd]`, as embeddings: rows of equal width.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if there is no memory for them.
    pub fn project(&self, compute: Compute<'_>, rows: Vec<f32>, n: usize) -> Result<Vec<f32>> {
        compute.before(self.weights.layers.len());
        self.weights.pooled.project(compute, rows, n)
    }

    /// The scores of classes of `n` pooled streams, `rows: [n, n_embd]`: `[n, n_classes]`; `None` for a model that has
    /// no classes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if there is no memory for them.
    pub fn classify(&self, compute: Compute<'_>, rows: Vec<f32>, n: usize) -> Result<Option<Vec<f32>>> {
        compute.before(self.weights.layers.len());
        let classifier = self.weights.pooled.classifier.as_ref();
        classifier.map(|classifier| classifier.scores(compute, rows, n)).transpose()
    }

    /// Whether the model scores classes.
    pub fn has_classes(&self) -> bool {
        self.weights.pooled.classifier.is_some()
    }

    /// A layer.
    pub(super) fn layer(&self, i: usize) -> &Layer {
        &self.weights.layers[i]
    }

    /// Loads layer `i` again, with `replaced` blocks in the place of some of the file's.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub(super) fn reload_layer(
        &mut self,
        file: &GgufFile,
        arch: &str,
        i: usize,
        replaced: &HashMap<String, NewBlocks>,
    ) -> Result<()> {
        self.weights.reload_layer(file, (arch, &self.spec), i, replaced)
    }

    /// Starts the streams with the rows of the embedding, and computes the angles of the positions.
    pub(super) fn embed(&self, compute: Compute<'_>, space: &mut Workspace, batch: &Batch) {
        let (n, n_embd, n_ctx) = (batch.n(), self.spec.n_embd, space.n_ctx);
        for (angles, frequencies) in space.angles.iter_mut().zip(&self.weights.frequencies) {
            angles.fill(compute, frequencies.for_context(n_ctx), n, |row| batch.tokens[row].position);
        }
        let Weights {
            token_embd, embedding_added, position_embd, token_types, embed_norm, per_layer, ..
        } = &self.weights;
        let scale = self.spec.embed.scale;
        let piece_len = compute.piece_len(n, n_embd);
        let spares = RowsMut { values: space.spare.as_mut_slice(), width: n_embd };
        let parts = pieces(space.stream.rows_mut(n), piece_len).zip(batch.tokens.chunks(piece_len));
        // There are spare rows only if something is done with them.
        let spares = pieces(spares, piece_len)
            .map(|rows| rows.values)
            .chain(core::iter::repeat_with(Default::default));
        let parts = parts.zip(spares);
        let ops = compute.kernels.ops();
        compute.for_each(n * n_embd, parts, |((streams, tokens), spare)| {
            for (stream, token) in streams.values.chunks_exact_mut(n_embd).zip(tokens) {
                let decode = |row: super::weights::MatrixRows<'_>, out: &mut [f32]| {
                    compute.kernels.decode(row.block_type, row.bytes, out);
                };
                decode(token_embd.rows(token.id as usize..token.id as usize + 1), stream);
                for part in embedding_added {
                    part.add_to_embedding(compute.kernels, token.id as usize, stream);
                }
                if scale != 1.0 {
                    stream.iter_mut().for_each(|x| *x *= scale);
                }
                if let Some(table) = token_types {
                    let row = &mut spare[..n_embd];
                    let ty = usize::from(token.is_second).min(table.n_out() - 1);
                    decode(table.rows(ty..ty + 1), row);
                    ops.add(stream, row);
                }
                if let Some(table) = position_embd {
                    let position = token.position.min(table.n_out() - 1);
                    let row = &mut spare[..n_embd];
                    decode(table.rows(position..position + 1), row);
                    ops.add(stream, row);
                }
                if let Some(norm) = embed_norm {
                    norm.in_place(ops, stream, spare);
                }
            }
        });
        space.stream.keep(n);
        if let (Some(per_layer), Some(scratch)) = (per_layer, &mut space.per_layer) {
            let id = |row: usize| batch.tokens[row].id as usize;
            per_layer.step(compute, (&space.stream, n), id, scratch);
        }
        if let (Some(ends), Some(scratch)) = (&self.weights.altup, &mut space.altup) {
            ends.begin(compute, (&space.stream, n), scratch);
        }
        if let Some(scratch) = &mut space.hyper {
            scratch.begin(&space.stream, n);
        }
    }
}
