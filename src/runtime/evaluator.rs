//! Evaluates several sequences at once.

use std::sync::atomic::AtomicBool;

use gguf_simd::FloatEnvironment;

use super::engine::Engine;
use super::part::{Logits, Part, take_batch};
use super::session_options::SessionOptions;
use crate::error::{Error, Result};
use crate::model::{BatchPart, Compute, Dimensions, InputObserver, Phase, PhaseTimes, Profile, Workspace};

/// The logits of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepLogits<'a> {
    logits: &'a [f32],
    /// Where each part's end.
    ends: &'a [usize],
}

impl<'a> StepLogits<'a> {
    /// The logits that part `index` wanted: `[n_wanted, n_vocab]`.
    ///
    /// # Panics
    /// If there is no such part.
    pub fn of(&self, index: usize) -> &'a [f32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.logits[start..self.ends[index]]
    }
}

/// The buffers in which sequences are evaluated: any number of them, some with a token each and some
/// with a piece of a prompt, in one batch that reads the weights once.
///
/// What a sequence gets depends on its own ids alone, to the last bit. Steps allocate nothing, but for
/// the first one with so many logits or so many parts, and for one that comes to positions which the
/// sequence shares with another or with a checkpoint.
///
/// ```no_run
/// # use std::path::Path;
/// # use gguf_kit::model::KvTypes;
/// # use gguf_kit::runtime::{Engine, EngineOptions, Evaluator, Logits, Part, Sequence, SessionOptions};
/// let engine = Engine::load(Path::new("model.gguf"), EngineOptions::default())?;
/// let options = SessionOptions { n_ctx: 4096, n_batch: 512, kv_types: KvTypes::default() };
/// let mut evaluator = Evaluator::new(&engine, options)?;
/// let mut writer = Sequence::new(&engine, options)?;
/// let mut reader = Sequence::new(&engine, SessionOptions { n_ctx: 1024, ..options })?;
/// let mut parts =
///     [Part::new(&mut writer, &[17], Logits::Last), Part::new(&mut reader, &[1, 5, 9], Logits::None)];
/// let after_17 = evaluator.step(&mut parts)?.of(0);
/// # assert_eq!(after_17.len(), engine.n_vocab());
/// # Ok::<(), gguf_kit::Error>(())
/// ```
#[derive(Debug)]
pub struct Evaluator<'e> {
    engine: &'e Engine,
    space: Workspace,
    options: SessionOptions,
    /// `[n_wanted, n_vocab]`, part by part.
    logits: Vec<f32>,
    /// `[n_parts]`.
    ends: Vec<usize>,
    profile: Option<Profile>,
}

impl<'e> Evaluator<'e> {
    /// Reserves the buffers for batches of `n_batch` tokens, at most `n_ctx`, of sequences of up to
    /// `n_ctx` positions.
    ///
    /// # Errors
    /// [`Error::Usage`] for a context or a batch of none; [`Error::Limit`] if the memory is not there.
    pub fn new(engine: &'e Engine, options: SessionOptions) -> Result<Self> {
        let options = options.checked()?;
        engine.check_evaluator(options)?;
        let SessionOptions { n_ctx, n_batch, kv_types } = options;
        let n_threads = engine.pool().n_threads();
        let mut logits = Vec::new();
        reserve_logits(&mut logits, engine.n_vocab())?;
        let dimensions = Dimensions { n_batch, n_ctx, kv_types, n_threads };
        let space = engine.decoder().workspace(dimensions)?;
        Ok(Self { engine, space, options, logits, ends: Vec::with_capacity(1), profile: None })
    }

    /// The engine.
    pub fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// What it was made for; the batch may be smaller.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    /// Starts profiling: accumulates time per phase from here on.
    pub fn start_profile(&mut self) {
        self.engine.pool().time_waits(true);
        self.profile = Some(Profile::new());
    }

    /// Ends what [`Evaluator::start_profile`] began; `None` if it did not.
    pub fn end_profile(&mut self) -> Option<PhaseTimes> {
        self.engine.pool().time_waits(false);
        self.profile.take().map(|profile| profile.times())
    }

    /// Evaluates the ids of all `parts` and appends them to their sequences, in batches if they are more
    /// than one holds, and returns the logits that they want.
    ///
    /// # Errors
    /// Before anything is computed, and naming the part if there are several: [`Error::Limit`] if a
    /// sequence has no room for its ids, or memory none for the logits or for positions that a sequence
    /// shares; [`Error::Usage`] for an id that is not below `n_vocab`, for no ids when the last one's logits
    /// are wanted, or for a sequence of another engine, of other cache types, of more positions or of smaller
    /// batches than this was made for.
    pub fn step(&mut self, parts: &mut [Part<'_, 'e>]) -> Result<StepLogits<'_>> {
        self.step_with(parts, None)
    }

    /// As [`Evaluator::step`], which is given up once `stop` is true: between two layers, so that it takes no batch to
    /// notice. The sequences then have the positions of the batches that were finished, or fewer where there are
    /// recurrent mixers: those of the last checkpoint.
    ///
    /// # Errors
    /// As there; [`Error::Interrupted`] if it was stopped.
    pub fn step_until(&mut self, parts: &mut [Part<'_, 'e>], stop: &AtomicBool) -> Result<StepLogits<'_>> {
        self.step_with(parts, Some(stop))
    }

    fn step_with(&mut self, parts: &mut [Part<'_, 'e>], stop: Option<&AtomicBool>) -> Result<StepLogits<'_>> {
        let _environment = FloatEnvironment::enter();
        let n_vocab = self.engine.n_vocab();
        self.engine.check_has_logits()?;
        let n_wanted = self.prepare(parts)?;
        reserve_logits(&mut self.logits, n_wanted.saturating_mul(n_vocab))?;
        self.logits.resize(n_wanted * n_vocab, 0.0);
        let mut rest = parts;
        let mut done = 0;
        while let Some(first) = rest.iter().position(|part| !part.is_done()) {
            rest = &mut rest[first..];
            let n_parts = self.take_batch(rest);
            done += self.evaluate(&mut rest[..n_parts], done, stop)?;
        }
        Ok(StepLogits { logits: &self.logits, ends: &self.ends })
    }

    /// Evaluates the ids of all `parts` as [`Evaluator::step`] does, and calls `row` with each last stream that they
    /// want, part by part, and the part's number.
    ///
    /// # Errors
    /// As there.
    pub fn streams(&mut self, parts: &mut [Part<'_, 'e>], mut row: impl FnMut(usize, &[f32])) -> Result<()> {
        let _environment = FloatEnvironment::enter();
        self.prepare(parts)?;
        let (decoder, compute) = (self.engine.decoder(), self.engine.compute(self.profile.as_ref()));
        let n_embd = self.engine.spec().n_embd;
        let mut done = 0;
        while let Some(first) = parts[done..].iter().position(|part| !part.is_done()) {
            done += first;
            let rest = &mut parts[done..];
            let n_parts = self.take_batch(rest);
            decoder.forward(compute, &mut rest[..n_parts], &mut self.space);
            let mut rows = decoder.hidden(compute, &mut self.space).chunks_exact(n_embd);
            for (i, part) in rest[..n_parts].iter_mut().enumerate() {
                rows.by_ref().take(part.n_wanted()).for_each(|stream| row(done + i, stream));
                part.sequence.ids.extend_from_slice(&part.ids[part.now.clone()]);
            }
        }
        Ok(())
    }

    /// Gives the next batch its ids; returns the number of parts that have some.
    fn take_batch(&self, parts: &mut [Part<'_, 'e>]) -> usize {
        take_batch(parts, self.options.n_batch, self.engine.spec().is_bidirectional())
    }

    /// Evaluates the ids of all `parts`, which want all logits, as [`Evaluator::step`] does, shows `observer` the
    /// inputs of all products, and computes no logits; those of a batch, to show the output matrix's inputs, only
    /// if `with_output`. It is given up once `stop` is true.
    ///
    /// # Errors
    /// As there, and as [`Evaluator::step_until`].
    pub fn observe(
        &mut self,
        parts: &mut [Part<'_, 'e>],
        observer: &dyn InputObserver,
        with_output: bool,
        stop: &AtomicBool,
    ) -> Result<()> {
        let _environment = FloatEnvironment::enter();
        self.prepare(parts)?;
        let decoder = self.engine.decoder();
        let compute = Compute { inputs: Some(observer), stop: Some(stop), ..self.engine.compute(None) };
        let mut rest = parts;
        while let Some(first) = rest.iter().position(|part| !part.is_done()) {
            rest = &mut rest[first..];
            let n_parts = self.take_batch(rest);
            if !decoder.forward(compute, &mut rest[..n_parts], &mut self.space) {
                rest.iter_mut().for_each(|part| part.sequence.forget_abandoned());
                return Err(Error::Interrupted);
            }
            for part in &mut rest[..n_parts] {
                part.sequence.ids.extend_from_slice(&part.ids[part.now.clone()]);
            }
            if with_output {
                let n =
                    rest[..n_parts].iter().map(BatchPart::n_wanted).sum::<usize>() * self.engine.n_vocab();
                reserve_logits(&mut self.logits, n)?;
                self.logits.resize(n, 0.0);
                decoder.logits(compute, &mut self.space, &mut self.logits);
            }
        }
        Ok(())
    }

    /// Checks all `parts` and makes room for their ids; how many logits they want.
    fn prepare(&mut self, parts: &mut [Part<'_, 'e>]) -> Result<usize> {
        let n_vocab = self.engine.n_vocab();
        self.ends.clear();
        let mut n_wanted = 0usize;
        for (i, part) in parts.iter().enumerate() {
            self.check(part).map_err(|error| if parts.len() > 1 { named(error, i) } else { error })?;
            n_wanted = n_wanted.saturating_add(part.n_logits());
            self.ends.push(n_wanted.saturating_mul(n_vocab));
        }
        for (i, part) in parts.iter_mut().enumerate() {
            let prepared = part.sequence.prepare(part.ids.len());
            prepared.map_err(|error| if self.ends.len() > 1 { named(error, i) } else { error })?;
        }
        for part in parts {
            part.now = 0..0;
            if part.can_go_back {
                part.sequence.cache.leave_trail();
            }
        }
        Ok(n_wanted)
    }

    /// Evaluates a batch and puts its logits behind the `done` floats there are; returns how many they
    /// are.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if it was stopped.
    fn evaluate(
        &mut self,
        parts: &mut [Part<'_, 'e>],
        done: usize,
        stop: Option<&AtomicBool>,
    ) -> Result<usize> {
        let decoder = self.engine.decoder();
        let compute = Compute { stop, ..self.engine.compute(self.profile.as_ref()) };
        compute.enter(Phase::Rest);
        if !decoder.forward(compute, parts, &mut self.space) {
            compute.enter(Phase::Outside);
            parts.iter_mut().for_each(|part| part.sequence.forget_abandoned());
            return Err(Error::Interrupted);
        }
        for part in parts.iter_mut() {
            part.sequence.ids.extend_from_slice(&part.ids[part.now.clone()]);
            if !part.is_done() {
                part.sequence.checkpoint_if_due(part.ids.len() - part.now.end);
            }
        }
        let n_logits = parts.iter().map(BatchPart::n_wanted).sum::<usize>() * self.engine.n_vocab();
        if n_logits > 0 {
            decoder.logits(compute, &mut self.space, &mut self.logits[done..done + n_logits]);
        }
        compute.enter(Phase::Outside);
        Ok(n_logits)
    }

    /// The logits of the last step.
    pub(super) fn last_logits(&self) -> &[f32] {
        &self.logits
    }

    fn check(&self, part: &Part<'_, '_>) -> Result<()> {
        let (sequence, n_vocab) = (&part.sequence, self.engine.n_vocab());
        if !std::ptr::eq(sequence.engine(), self.engine) {
            return Err(Error::usage("a sequence is evaluated by the engine that it was made with"));
        }
        self.check_shape(sequence.options())?;
        let (n_past, n_ctx) = (sequence.n_past(), sequence.n_ctx());
        if part.ids.len() > n_ctx - n_past {
            return Err(Error::limit(format!(
                "{} tokens after {n_past} exceed the context of {n_ctx}; use a greater --ctx",
                part.ids.len()
            )));
        }
        let n_batch = self.options.n_batch;
        if self.engine.spec().is_bidirectional() && (n_past > 0 || part.ids.len() > n_batch) {
            return Err(Error::limit(format!(
                "{} tokens after {n_past}: the model reads a text as a whole, in a batch, and there is room for {n_batch}; \
                 use a greater --batch",
                part.ids.len()
            )));
        }
        if part.wanted == Logits::Last && part.ids.is_empty() {
            return Err(Error::usage("there is no last token: the step has no ids"));
        }
        match part.ids.iter().find(|&&id| id as usize >= n_vocab) {
            Some(id) => Err(Error::usage(format!("there is no token {id}; the vocabulary has {n_vocab}"))),
            None => Ok(()),
        }
    }

    fn check_shape(&self, SessionOptions { n_ctx, n_batch, kv_types }: SessionOptions) -> Result<()> {
        let own = self.options;
        if n_ctx > own.n_ctx || kv_types != own.kv_types {
            return Err(Error::usage(format!(
                "a sequence of {n_ctx} positions with keys and values in {kv_types} does not fit an evaluator of {} in {}",
                own.n_ctx, own.kv_types
            )));
        }
        let has_others = |short: &usize| n_ctx <= *short && own.n_ctx > *short;
        if let Some(short) = self.engine.spec().short_context().filter(has_others) {
            let what = format!("a sequence of {n_ctx} positions does not fit an evaluator of {}", own.n_ctx);
            return Err(Error::usage(format!("{what}: beyond {short} this model has other angles")));
        }
        if n_batch < own.n_batch.min(n_ctx) {
            return Err(Error::usage(format!(
                "a sequence for batches of {n_batch} tokens does not fit an evaluator for batches of {}",
                own.n_batch
            )));
        }
        Ok(())
    }
}

/// The error of part `index`.
fn named(error: Error, index: usize) -> Error {
    match error {
        Error::Limit { what } => Error::limit(format!("sequence {index} of the step: {what}")),
        Error::Usage { what } => Error::usage(format!("sequence {index} of the step: {what}")),
        other => other,
    }
}

/// Makes room for `n` floats.
fn reserve_logits(logits: &mut Vec<f32>, n: usize) -> Result<()> {
    logits.clear();
    logits.try_reserve_exact(n).map_err(|_| {
        Error::limit(format!("there is no memory for {n} logits; ask for those of fewer tokens at a time"))
    })
}
