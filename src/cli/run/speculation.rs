//! The arguments that say how to guess, and the models that guess.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::ModelArgs;
use super::load::{Model, load};
use crate::cli::compute::ComputeArgs;
use crate::cli::output::note;
use crate::cli::values::count;
use crate::error::{Error, Result};
use crate::runtime::generate::Generator;
use crate::runtime::speculate::{DraftModel, Drafter, NGrams, Speculator};
use crate::runtime::{Session, SessionOptions};

/// How to guess.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Speculation (guessed tokens are checked together: the same text, sooner)")]
pub(super) struct SpeculationArgs {
    /// Guess that the text repeats what stands in it, as answers that quote or edit the prompt do, or do not guess
    #[arg(long, value_name = "HOW", default_value = "ngram")]
    pub speculate: How,
    /// Let this smaller model of the same vocabulary guess: a GGUF file or a checkpoint
    #[arg(long, value_name = "MODEL", conflicts_with = "speculate")]
    pub draft: Option<PathBuf>,
    /// Check at most so many guesses together
    #[arg(long, value_name = "N", default_value_t = 16, allow_negative_numbers = true, value_parser = count)]
    pub draft_max: usize,
}

/// Where guesses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum How {
    /// From the text.
    Ngram,
    /// There are none.
    Off,
}

/// The most guesses that are checked together: each takes the logits of a position.
const MAX_DRAFT: usize = 256;

impl SpeculationArgs {
    /// Whether the arguments make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] if they do not.
    pub(super) fn check(&self) -> Result<()> {
        match self.draft_max {
            0 => Err(Error::usage("--draft-max 0 checks no guess; use --speculate off")),
            1..=MAX_DRAFT => Ok(()),
            n => Err(Error::usage(format!("--draft-max {n} is too many; use {MAX_DRAFT} or less"))),
        }
    }

    /// Loads the model that guesses, if one is to, all but its weights.
    ///
    /// # Errors
    /// As [`load`].
    pub(super) fn load_draft(
        &self,
        of: &ModelArgs,
        compute: &ComputeArgs,
        quiet: bool,
    ) -> Result<Option<Model>> {
        let args = self.draft.clone().map(|model| ModelArgs {
            model,
            file_type: None,
            ram: of.ram,
            lora: Vec::new(),
            prompt_threads: of.prompt_threads,
        });
        args.map(|args| load(&args, compute, quiet)).transpose()
    }

    /// A generator for `session` of `model`, which guesses with `draft` if there is one. Brings the weights of
    /// both into memory.
    ///
    /// # Errors
    /// [`Error::Usage`] if `draft` has another vocabulary; [`Error::Limit`] if there is too little memory.
    pub(super) fn generator<'m>(
        &self,
        model: &'m Model,
        draft: Option<&'m Model>,
        session: Session<'m>,
        quiet: bool,
    ) -> Result<Generator<'m>> {
        let drafter: Box<dyn Drafter + 'm> = match (draft, self.speculate) {
            (Some(draft), _) => Box::new(self.settle_with(model, draft, &session, quiet)?),
            (None, How::Ngram) if model.settle(&session, self.logits_bytes(model), quiet).is_ok() => {
                Box::new(NGrams::new())
            }
            (None, how) => {
                // What fits only without guesses runs without.
                model.settle(&session, 0, quiet)?;
                if how == How::Ngram && !quiet {
                    note("there is no memory to check guesses in: --speculate ngram has no effect");
                }
                return Ok(Generator::new(session, &model.tokenizer));
            }
        };
        Ok(Generator::speculating(session, &model.tokenizer, Speculator::new(drafter, self.draft_max)))
    }

    /// Brings the weights of `model` and `draft` into memory; returns what guesses.
    fn settle_with<'m>(
        &self,
        model: &Model,
        draft: &'m Model,
        session: &Session<'_>,
        quiet: bool,
    ) -> Result<DraftModel<'m>> {
        let options = SessionOptions { n_ctx: session.n_ctx(), ..session.options() };
        let own = Session::new(&draft.engine, options)?;
        let target = (&model.tokenizer, model.engine.n_vocab());
        let guesses = DraftModel::new(own, &draft.tokenizer, target, self.draft_max)?;
        let own = guesses.session().free_bytes() + self.logits_bytes(model);
        let both = own + session.free_bytes();
        // The model whole, or where that leaves the draft no room, the least of it.
        let least = model.engine.demand(session.options())?.least_weights;
        let plan = draft.plan(both + model.engine.file().file_len()).or_else(|_| draft.plan(both + least))?;
        model.settle(session, own + plan.held_bytes(), quiet)?;
        draft.follow(plan, session.n_batch(), quiet)?;
        Ok(guesses)
    }

    /// Bytes of the logits of a step with guesses.
    fn logits_bytes(&self, model: &Model) -> u64 {
        (self.draft_max * model.engine.n_vocab() * size_of::<f32>()) as u64
    }
}
