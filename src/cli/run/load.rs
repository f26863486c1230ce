//! Loads MODEL: a GGUF file as it is, a checkpoint by way of the cache folder.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gguf_simd::kernels::Kernels;

use super::args::ModelArgs;
use super::input::Input;
use super::locate::{Located, locate};
use super::residency;
use crate::cli::compute::{ComputeArgs, checked_threads};
use crate::cli::convert::progress::Bar;
use crate::cli::interrupt::Busy;
use crate::cli::output::{bytes, note, warn};
use crate::cli::values::Scaled;
use crate::convert::{FileType, RunOptions, cached};
use crate::error::{Error, Result};
use crate::model::adapter::Adapter;
use crate::printable::plural;
use crate::runtime::residency::Plan;
use crate::runtime::{Engine, EngineOptions, Session, SessionOptions};
use crate::tokenizer::Tokenizer;

/// A loaded model; without a tokenizer, `Model<()>`, for those who need the numbers of tokens alone.
pub(super) struct Model<T = Tokenizer> {
    /// Computes.
    pub engine: Engine,
    /// Reads and writes its tokens.
    pub tokenizer: T,
    /// The time it took to load so far, without a conversion.
    pub load_time: Cell<Duration>,
}

impl<T> Model<T> {
    /// The model without its tokenizer.
    pub(super) fn without_text(self) -> Model<()> {
        Model { engine: self.engine, tokenizer: (), load_time: self.load_time }
    }

    /// Brings the weights into memory, or as many as there is memory for beside what `session` has not filled
    /// and `more` bytes. Unless `quiet`, says so if not all fit.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is too little memory to stream the weights.
    pub(super) fn settle(&self, session: &Session<'_>, more: u64, quiet: bool) -> Result<()> {
        let plan = self.plan(session.free_bytes().saturating_add(more))?;
        if let Some(hint) = residency::shorter_context(&plan, session).filter(|_| !quiet) {
            note(&hint);
        }
        self.follow(plan, session.n_batch(), quiet)
    }

    /// Brings the weights into memory beside what an evaluator of `options` and a sequence take.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is too little memory to stream the weights.
    pub(super) fn settle_evaluator(&self, options: SessionOptions, quiet: bool) -> Result<()> {
        let demand = self.engine.demand(options)?;
        let plan = self.plan(demand.cache.saturating_add(demand.buffers))?;
        self.follow(plan, options.n_batch, quiet)
    }

    /// Plans for [`Model::follow`] what [`Model::settle`] does at once.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is too little memory to stream the weights.
    pub(super) fn plan(&self, set_aside: u64) -> Result<Plan> {
        let start = Instant::now();
        let plan = self.engine.plan(set_aside)?;
        self.load_time.set(self.load_time.get() + start.elapsed());
        Ok(plan)
    }

    /// Brings weights into memory as `plan` says.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses to start a thread.
    pub(super) fn follow(&self, plan: Plan, n_batch: usize, quiet: bool) -> Result<()> {
        let start = Instant::now();
        if !quiet {
            residency::announce(&plan, n_batch);
        }
        let residency = self.engine.settle(plan)?;
        if !quiet {
            residency::complain(residency);
        }
        self.load_time.set(self.load_time.get() + start.elapsed());
        Ok(())
    }
}

impl Model<()> {
    /// The model and its tokenizer.
    fn with_text(self) -> Result<Model> {
        let Self { engine, load_time, .. } = self;
        let start = Instant::now();
        engine.check_start()?;
        let tokenizer = Tokenizer::from_metadata(engine.metadata())?;
        if tokenizer.n_vocab() > engine.n_vocab() {
            return Err(Error::malformed(
                engine.file().path(),
                format!(
                    "its tokenizer has {} tokens and its embedding only {} rows",
                    tokenizer.n_vocab(),
                    engine.n_vocab()
                ),
            ));
        }
        load_time.set(load_time.get() + start.elapsed());
        Ok(Model { engine, tokenizer, load_time })
    }

    /// The model, and its tokenizer if `has_text`.
    ///
    /// # Errors
    /// As [`load`].
    pub(super) fn with_text_if(self, has_text: bool) -> Result<Model<Option<Tokenizer>>> {
        if !has_text {
            return Ok(Model { engine: self.engine, tokenizer: None, load_time: self.load_time });
        }
        let Model { engine, tokenizer, load_time } = self.with_text()?;
        Ok(Model { engine, tokenizer: Some(tokenizer), load_time })
    }
}

/// The file type a checkpoint is converted to unless told.
const DEFAULT_FILE_TYPE: FileType = FileType::Q4_K_M;

/// Loads what `model` names, all but its weights: that is [`Model::settle`], once the sessions are made.
/// Unless `quiet`, a conversion shows its progress.
///
/// # Errors
/// Any, before anything is converted where the arguments themselves are wrong.
pub(super) fn load(model: &ModelArgs, compute: &ComputeArgs, quiet: bool) -> Result<Model> {
    load_without_text(model, compute, quiet)?.with_text()
}

/// Loads what is to evaluate `inputs`: with a tokenizer if one of them is a text.
///
/// # Errors
/// As [`load`].
pub(super) fn load_for(
    inputs: &[Input],
    model: &ModelArgs,
    compute: &ComputeArgs,
    quiet: bool,
) -> Result<Model<Option<Tokenizer>>> {
    let has_text = inputs.iter().any(|input| matches!(input, Input::Text(_)));
    let model = load_without_text(model, compute, quiet)?;
    model.with_text_if(has_text)
}

/// As [`load`], of a model that need not have a vocabulary.
///
/// # Errors
/// As there.
pub(super) fn load_without_text(model: &ModelArgs, compute: &ComputeArgs, quiet: bool) -> Result<Model<()>> {
    let options = EngineOptions {
        n_threads: compute.threads()?,
        n_prompt_threads: checked_threads("--prompt-threads", model.prompt_threads)?,
        isa: compute.isa()?,
        ram: model.ram,
    };
    let path = gguf_path(model, &options, quiet)?;
    let start = Instant::now();
    let adapters = model.lora.iter().map(|Scaled { path, scale }| Adapter::open(path, *scale));
    let engine = Engine::open_with(&path, options, adapters.collect::<Result<_>>()?)?;
    let n_left_aside = engine.n_left_aside();
    if n_left_aside > 0 && !quiet {
        let tensors = plural(n_left_aside, "tensor");
        note(format_args!("{tensors} of parts that see or hear are left aside: the model reads text alone"));
    }
    Ok(Model { engine, tokenizer: (), load_time: Cell::new(start.elapsed()) })
}

/// The GGUF file for `model`.
fn gguf_path(model: &ModelArgs, options: &EngineOptions, quiet: bool) -> Result<PathBuf> {
    let file_type = model.file_type.as_deref().map(str::parse).transpose()?;
    match (locate(&model.model, quiet)?, file_type) {
        (Located::Gguf(path), None) => Ok(path),
        (Located::Gguf(path), Some(file_type)) => Err(Error::usage(format!(
            "{} is a GGUF file already; leave out --type {file_type}, which says what to convert a checkpoint to",
            path.display(),
        ))),
        (Located::Checkpoint(path), file_type) => {
            from_checkpoint(&path, file_type.unwrap_or(DEFAULT_FILE_TYPE), options, quiet)
        }
    }
}

/// The GGUF file in the cache folder for the checkpoint at `input`: the one from last time, or one
/// that is made now.
fn from_checkpoint(
    input: &Path,
    file_type: FileType,
    options: &EngineOptions,
    quiet: bool,
) -> Result<PathBuf> {
    let busy = Busy::begin();
    let bar = Bar::new(quiet, busy.stop());
    let run_options = RunOptions {
        overwrite: false,
        n_threads: options.thread_counts().many,
        // The options name only what this CPU has.
        kernels: options.isa.and_then(Kernels::get).unwrap_or_else(Kernels::best),
    };
    let found = cached(input, file_type, &run_options, &bar);
    bar.clear();
    let found = found?;
    if !quiet {
        found.warnings.iter().for_each(warn);
        if let Some(made) = &found.made {
            note(format_args!(
                "converted in {:.1} s and kept for the next time: {} ({}, {:.2} bits per weight)",
                made.duration.as_secs_f64(),
                found.path.display(),
                bytes(made.file_bytes),
                made.bits_per_weight,
            ));
        }
    }
    Ok(found.path)
}
