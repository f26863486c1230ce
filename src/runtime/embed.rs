//! Vectors and scores of whole texts.
//!
//! Texts are evaluated together, as many as a batch holds; what becomes of one does not depend on the others. Models
//! that see texts as a whole get each in one batch, others in as many as it takes.

use gguf_simd::FloatEnvironment;

use super::engine::Engine;
use super::evaluator::Evaluator;
use super::part::{Logits, Part};
use super::sequence::Sequence;
use super::session_options::SessionOptions;
use crate::error::{Error, Result};
use crate::model::KvTypes;
use crate::model::spec::Pooling;

/// Tokens evaluated together, unless a text is longer.
const N_BATCH: usize = 512;

/// What an [`Embedder`] does.
#[derive(Clone, Copy, Debug)]
pub struct EmbedOptions {
    /// Tokens of the longest text.
    pub n_longest: usize,
    /// Tokens evaluated together. It changes speed and memory, never results; for models that see a text as a whole
    /// it is at least that of the longest.
    pub n_batch: usize,
    /// The types of keys and values.
    pub kv_types: KvTypes,
    /// How the streams of a text become one, if not as the model's file says.
    pub pooling: Option<Pooling>,
    /// Elements that are kept of a vector, the first ones, if not all.
    pub n_kept: Option<usize>,
    /// Whether vectors are brought to length 1.
    pub is_normalized: bool,
}

/// A text as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedText {
    /// Its ids, with those that the model wants around it; at least one.
    pub ids: Vec<u32>,
    /// Where the second text of a pair begins.
    pub border: Option<usize>,
    /// Ids at the beginning that the mean leaves out.
    pub n_left_out: usize,
}

impl EmbedText {
    /// A text that counts as a whole.
    pub fn new(ids: Vec<u32>) -> Self {
        Self { ids, border: None, n_left_out: 0 }
    }
}

/// Turns texts into vectors, or pairs of texts into scores.
#[derive(Debug)]
pub struct Embedder<'e> {
    engine: &'e Engine,
    evaluator: Evaluator<'e>,
    options: EmbedOptions,
}

impl EmbedOptions {
    /// Normalised vectors of texts of up to `n_longest` tokens, pooled as the file says.
    pub fn new(n_longest: usize) -> Self {
        Self {
            n_longest,
            n_batch: N_BATCH,
            kv_types: KvTypes::default(),
            pooling: None,
            n_kept: None,
            is_normalized: true,
        }
    }

    /// What the evaluator of these texts is made for.
    pub fn evaluator(&self, engine: &Engine) -> SessionOptions {
        let is_whole = engine.spec().is_bidirectional();
        let n_batch = if is_whole { self.n_batch.max(self.n_longest) } else { self.n_batch };
        SessionOptions { n_ctx: self.n_longest.max(n_batch), n_batch, kv_types: self.kv_types }
    }
}

impl<'e> Embedder<'e> {
    /// Reserves the buffers.
    ///
    /// # Errors
    /// [`Error::Usage`] for a batch of none, or if more elements are to be kept than there are; [`Error::Limit`] if the
    /// memory is not there.
    pub fn new(engine: &'e Engine, options: EmbedOptions) -> Result<Self> {
        let evaluator = Evaluator::new(engine, options.evaluator(engine))?;
        let made = Self { engine, evaluator, options };
        made.check_kept()?;
        Ok(made)
    }

    /// Checks that vectors have as many elements as are to be kept.
    fn check_kept(&self) -> Result<()> {
        let Some(n) = self.options.n_kept else { return Ok(()) };
        if self.pooling() == Pooling::None {
            let what = "elements are kept of the vectors of texts, and without pooling there are none; choose a pooling";
            return Err(Error::usage(what));
        }
        let spec = self.engine.spec();
        let width = spec.pooled.dense.last().copied().unwrap_or(spec.n_embd);
        if n == 0 || n > width {
            let what = format!("{n} elements cannot be kept of vectors of {width}; keep 1 to {width}");
            return Err(Error::usage(what));
        }
        Ok(())
    }

    /// How the streams of a text become one: as the options say, else the model's file; else the mean, or the last
    /// one of a model that reads from left to right.
    pub fn pooling(&self) -> Pooling {
        let spec = self.engine.spec();
        let usual = if spec.is_bidirectional() { Pooling::Mean } else { Pooling::Last };
        self.options.pooling.or(spec.pooled.pooling).unwrap_or(usual)
    }

    /// A vector for each text; without pooling, those of its tokens one after the other.
    ///
    /// # Errors
    /// As [`Evaluator::step`].
    pub fn embed(&mut self, texts: &[EmbedText]) -> Result<Vec<Vec<f32>>> {
        let pooling = self.pooling();
        let mut vectors = self.pooled(texts, pooling)?;
        if pooling != Pooling::None && !vectors.is_empty() {
            let _environment = FloatEnvironment::enter();
            let rows =
                self.engine.decoder().project(self.engine.compute(None), vectors.concat(), texts.len())?;
            vectors = rows.chunks_exact(rows.len() / texts.len()).map(<[f32]>::to_vec).collect();
        }
        if let Some(n_kept) = self.options.n_kept {
            vectors.iter_mut().for_each(|vector| vector.truncate(n_kept));
        }
        if self.options.is_normalized {
            let width = if pooling == Pooling::None { self.engine.spec().n_embd } else { usize::MAX };
            vectors.iter_mut().flat_map(|vector| vector.chunks_mut(width)).for_each(normalize);
        }
        Ok(vectors)
    }

    /// The scores of each text, or pair of texts: one for each class.
    ///
    /// # Errors
    /// As [`Evaluator::step`]; [`Error::Usage`] for a model without classes.
    pub fn scores(&mut self, texts: &[EmbedText]) -> Result<Vec<Vec<f32>>> {
        let pooling = self.engine.spec().pooled.classifier.map(|of| of.pooling);
        let Some(pooling) = pooling.filter(|_| self.engine.decoder().has_classes()) else {
            return Err(Error::usage(
                "the model does not score pairs of texts: it is not a rerank model; compare the vectors of gguf-run embed",
            ));
        };
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.pooled(texts, pooling)?.concat();
        let _environment = FloatEnvironment::enter();
        let scores = self.engine.decoder().classify(self.engine.compute(None), rows, texts.len())?;
        let scores = scores.unwrap_or_default();
        Ok(scores.chunks((scores.len() / texts.len()).max(1)).map(<[f32]>::to_vec).collect())
    }

    /// The last streams of each text, pooled.
    fn pooled(&mut self, texts: &[EmbedText], pooling: Pooling) -> Result<Vec<Vec<f32>>> {
        let n_batch = self.evaluator.options().n_batch;
        let mut pooled = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut room = n_batch;
            let n = rest.iter().take_while(|text| take(&mut room, text.ids.len())).count().max(1);
            let (now, later) = rest.split_at(n);
            self.pool_together(now, pooling, &mut pooled)?;
            rest = later;
        }
        Ok(pooled)
    }

    /// As [`Embedder::pooled`], for texts that one batch holds, or for one.
    fn pool_together(
        &mut self,
        texts: &[EmbedText],
        pooling: Pooling,
        pooled: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        let SessionOptions { n_batch, kv_types, .. } = self.evaluator.options();
        let make = |text: &EmbedText| {
            Sequence::new(self.engine, SessionOptions { n_ctx: text.ids.len(), n_batch, kv_types })
        };
        let mut sequences = texts.iter().map(make).collect::<Result<Vec<_>>>()?;
        let wanted = if pooling == Pooling::Last { Logits::Last } else { Logits::All };
        let mut parts: Vec<Part<'_, 'e>> = sequences
            .iter_mut()
            .zip(texts)
            .map(|(sequence, text)| {
                Part::new(sequence, &text.ids, wanted).with_border(text.border.unwrap_or(usize::MAX))
            })
            .collect();
        let mut sums: Vec<Pool> =
            texts.iter().map(|text| Pool { n_left_out: text.n_left_out, ..Pool::default() }).collect();
        self.evaluator.streams(&mut parts, |i, stream| sums[i].take(pooling, stream))?;
        pooled.extend(sums.into_iter().map(|sum| sum.finish(pooling)));
        Ok(())
    }
}

/// Takes `n` of `room`, if there is as much.
fn take(room: &mut usize, n: usize) -> bool {
    let fits = n <= *room;
    *room -= if fits { n } else { 0 };
    fits
}

/// The streams of a text as they become one.
#[derive(Default)]
struct Pool {
    streams: Vec<f32>,
    /// Sums of so many streams, in 64 bits.
    sum: Vec<f64>,
    /// How many of the first ones it has not.
    n_left_out: usize,
    n: usize,
}

impl Pool {
    fn take(&mut self, pooling: Pooling, stream: &[f32]) {
        self.n += 1;
        match pooling {
            Pooling::None => self.streams.extend_from_slice(stream),
            Pooling::Cls if self.n > 1 => {}
            Pooling::Cls | Pooling::Last => {
                self.streams.clear();
                self.streams.extend_from_slice(stream);
            }
            Pooling::Mean => {
                self.sum.resize(stream.len(), 0.0);
                if self.n > self.n_left_out {
                    self.sum.iter_mut().zip(stream).for_each(|(sum, x)| *sum += f64::from(*x));
                }
            }
        }
    }

    fn finish(self, pooling: Pooling) -> Vec<f32> {
        match pooling {
            Pooling::Mean => {
                let n = self.n.saturating_sub(self.n_left_out).max(1) as f64;
                self.sum.iter().map(|sum| (sum / n) as f32).collect()
            }
            Pooling::None | Pooling::Cls | Pooling::Last => self.streams,
        }
    }
}

/// Brings a vector to length 1; zeros stay.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}
