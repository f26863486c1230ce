//! A model whose layers are computed one at a time, each for all texts before the next: what calibration needs.
//!
//! The streams of all tokens are the caller's. Matrices can be replaced as they are quantised; those that are not
//! stay in place in the mapped file, where an [`InputObserver`] knows them by their bytes.

use std::collections::HashMap;
use std::path::Path;

use gguf_simd::{FloatEnvironment, Kernels};

use super::batch::{BatchPart, Dimensions};
use super::compute::{Compute, InputObserver};
use super::decoder::Decoder;
use super::layer::rows::Does;
use super::spec::ModelSpec;
use super::spec::layer::{MixerSpec, StoredScale};
use super::state::kv::{KvCache, KvOptions, KvTypes};
use super::state::promises::Promises;
use super::steps::{feed_forward, mix};
use super::weights::NewBlocks;
use super::workspace::Workspace;
use super::{Family, arch};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, parts};
use crate::threads::ThreadPool;

/// How far a layer is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The output of the mixer.
    Mixer,
    /// The whole layer.
    End,
}

/// A model, layer by layer.
#[derive(Debug)]
pub struct SingleLayers {
    file: GgufFile,
    family: &'static Family,
    decoder: Decoder,
    replaced: HashMap<String, NewBlocks>,
    pool: ThreadPool,
    kernels: &'static Kernels,
    /// One for each text of a batch.
    caches: Vec<KvCache>,
    n_ctx: usize,
}

/// A text of a batch.
struct Text<'a> {
    cache: &'a mut KvCache,
    ids: &'a [u32],
}

impl BatchPart for Text<'_> {
    fn cache(&self) -> &KvCache {
        self.cache
    }

    fn cache_mut(&mut self) -> &mut KvCache {
        self.cache
    }

    fn ids(&self) -> &[u32] {
        self.ids
    }

    fn n_wanted(&self) -> usize {
        self.ids.len()
    }
}

impl SingleLayers {
    /// Opens the model at `path`, for batches of `n_texts` texts of up to `n_ctx` tokens.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] and [`Error::Limit`] for the file; [`Error::Unsupported`] also for a model
    /// whose layers use keys and values of others.
    pub fn open(
        path: &Path,
        kernels: &'static Kernels,
        n_threads: usize,
        (n_texts, n_ctx): (usize, usize),
    ) -> Result<Self> {
        let file = parts::open_whole(path)?;
        let name = file.metadata().architecture()?;
        let family = arch::by_gguf_name(name)
            .ok_or_else(|| Error::unsupported(path, arch::missing::architecture(name)))?;
        let spec = family.spec_of_file(file.metadata(), &|name| Some(&file.tensor(name)?.shape))?;
        Self::check(path, &spec)?;
        let decoder = Decoder::load(&file, family.gguf_name, spec)?;
        let options = KvOptions { n_ctx, n_batch: n_ctx, types: KvTypes::default() };
        let n_bytes = KvCache::n_bytes(decoder.kv_spec(), options)?;
        let promises = Promises::default();
        let cache = |_| {
            let promise = promises.take(n_bytes).ok_or_else(|| {
                Error::limit(format!("keys and values of {n_ctx} tokens are beyond all memory"))
            })?;
            KvCache::new(decoder.kv_spec(), options, promise)
        };
        let caches = (0..n_texts).map(cache).collect::<Result<Vec<_>>>()?;
        let pool = ThreadPool::new(n_threads)?;
        Ok(Self { file, family, decoder, replaced: HashMap::new(), pool, kernels, caches, n_ctx })
    }

    /// Whether the layers of the model at `path` can be computed one at a time.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if not.
    pub fn check(path: &Path, spec: &ModelSpec) -> Result<()> {
        match why_not(spec) {
            None => Ok(()),
            Some(what) => Err(Error::unsupported(path, format!("{what}; convert it without --calibrate"))),
        }
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        self.decoder.spec()
    }

    /// The file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// Puts blocks in the place of matrices of `layer`, by their names.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not as large as the shape of their tensor asks.
    pub fn replace(
        &mut self,
        layer: usize,
        blocks: impl IntoIterator<Item = (String, NewBlocks)>,
    ) -> Result<()> {
        self.replaced.extend(blocks);
        self.decoder.reload_layer(&self.file, self.family.gguf_name, layer, &self.replaced)
    }

    /// Puts the matrices of the file back into `layer`, whose memory is then free.
    ///
    /// # Errors
    /// As [`SingleLayers::replace`].
    pub fn restore(&mut self, layer: usize) -> Result<()> {
        self.replaced.clear();
        self.decoder.reload_layer(&self.file, self.family.gguf_name, layer, &self.replaced)
    }

    /// Starts the streams of some texts, as many as a batch has: `streams: [n_tokens, n_embd]`, text by text.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses the memory.
    ///
    /// # Panics
    /// If the texts or their tokens are too many, or an id is not below `n_vocab`.
    pub fn embed(&mut self, texts: &[&[u32]], streams: &mut [f32]) -> Result<()> {
        self.run(texts, streams, None, None)
    }

    /// Lets layer `layer` add to the streams of some texts, each from an empty context, and shows `observer` the
    /// inputs of its matrices that are in the file.
    ///
    /// # Errors
    /// As [`SingleLayers::embed`].
    ///
    /// # Panics
    /// As there, or if there is no such layer.
    pub fn step(
        &mut self,
        (layer, until): (usize, Until),
        texts: &[&[u32]],
        streams: &mut [f32],
        observer: Option<&dyn InputObserver>,
    ) -> Result<()> {
        self.run(texts, streams, Some((layer, until)), observer)
    }

    /// Shows `observe` what the output matrix gets for streams that left the last layer.
    ///
    /// # Errors
    /// As [`SingleLayers::embed`].
    pub fn see_output_inputs(
        &mut self,
        n_tokens: usize,
        streams: &[f32],
        observe: impl FnOnce(&[f32]),
    ) -> Result<()> {
        let _environment = FloatEnvironment::enter();
        let mut space = self.workspace(n_tokens)?;
        space.stream.rows_mut(n_tokens).values.copy_from_slice(streams);
        observe(self.decoder.hidden_rows(self.compute(None), n_tokens, &mut space));
        Ok(())
    }

    fn workspace(&self, n_batch: usize) -> Result<Workspace> {
        let n_threads = self.pool.n_threads();
        let (n_ctx, kv_types) = (self.n_ctx, KvTypes::default());
        self.decoder.workspace(Dimensions { n_batch, n_ctx, kv_types, n_threads })
    }

    fn compute<'a>(&'a self, inputs: Option<&'a dyn InputObserver>) -> Compute<'a> {
        Compute { inputs, ..Compute::new(self.kernels, &self.pool, &()) }
    }

    fn run(
        &mut self,
        texts: &[&[u32]],
        streams: &mut [f32],
        layer: Option<(usize, Until)>,
        observer: Option<&dyn InputObserver>,
    ) -> Result<()> {
        let _environment = FloatEnvironment::enter();
        let n: usize = texts.iter().map(|ids| ids.len()).sum();
        // Formats of inputs change with the types of matrices.
        let mut space = self.workspace(n)?;
        let mut caches = std::mem::take(&mut self.caches);
        assert!(texts.len() <= caches.len(), "{} texts in a batch of {}", texts.len(), caches.len());
        let mut parts: Vec<_> =
            caches.iter_mut().zip(texts).map(|(cache, ids)| Text { cache, ids }).collect();
        let mut batch = std::mem::take(&mut space.batch);
        batch.fill(&parts);
        let compute = self.compute(observer);
        // Beside the streams it computes what layers need of positions and ids.
        self.decoder.embed(compute, &mut space, &batch);
        if let Some((i, until)) = layer {
            space.stream.rows_mut(n).values.copy_from_slice(streams);
            for part in &mut parts {
                let n = part.ids.len();
                part.cache.begin(n);
            }
            let layer = self.decoder.layer(i);
            mix(compute, (i, layer), &mut parts, &mut space, (&batch, Does::Both));
            if until == Until::End {
                feed_forward(compute, (i, layer), &mut space, n);
            }
            for part in &mut parts {
                let n = part.ids.len();
                part.cache.advance(n);
                part.cache.rewind(0);
            }
        }
        streams.copy_from_slice(space.stream.rows(n));
        self.caches = caches;
        Ok(())
    }
}

/// Why the layers of a model cannot be computed one at a time, or calibrated by what they compute.
fn why_not(spec: &ModelSpec) -> Option<String> {
    let shares = |mixer: &MixerSpec| matches!(mixer, MixerSpec::Attention(of) if of.shares_kv_with.is_some());
    if !spec.head.has_logits {
        return Some("calibration is for models that predict tokens, and this is an encoder".into());
    }
    if spec.embed.altup.is_some() {
        return Some("its layers have several streams (AltUp), and calibration takes one".into());
    }
    if spec.embed.hyper.is_some() {
        return Some("its layers have several streams (hyper-connections), and calibration takes one".into());
    }
    if spec.layers.iter().any(|layer| layer.repeats.is_some()) {
        return Some("its layers run several times, and calibration lets each run once".into());
    }
    if spec.layers.iter().any(|layer| layer.stored_scale == Some(StoredScale::Embedding)) {
        return Some("its layers add the embedding again, and calibration takes one stream".into());
    }
    if spec.layers.iter().any(|layer| matches!(layer.mixer, MixerSpec::Rwkv7(_))) {
        return Some(
            "its layers take a share of the first one's values, and calibration computes each apart".into(),
        );
    }
    let i = spec.layers.iter().position(|layer| shares(&layer.mixer))?;
    Some(format!(
        "layer {i} attends to the keys of another layer, so that layers cannot be calibrated one by one"
    ))
}
