//! A text and the positions evaluated ahead of it.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::runtime::speculate::{Speculated, Speculator};
use crate::runtime::{Logits, Sampler, Session};

/// A session that may have evaluated guesses behind its text. Each token either is the next guess, whose logits
/// are there, or takes the place of all guesses.
///
/// Once the guesses are forgotten, the session is what it would be without any: keys, values and states have the same bits,
/// and no window has lost a position, because guesses never begin a chunk of the cache.
pub(super) struct Ahead<'e> {
    session: Session<'e>,
    speculator: Option<Speculator<'e>>,
    /// Positions of the text.
    n_past: usize,
    /// The guesses that the last step has evaluated, and how many of them have come true.
    guesses: Vec<u32>,
    n_came: usize,
}

impl<'e> Ahead<'e> {
    pub(super) fn new(mut session: Session<'e>, speculator: Option<Speculator<'e>>) -> Self {
        if let Some(speculator) = &speculator {
            session.reserve_trail(speculator.most());
        }
        Self { n_past: session.n_past(), session, speculator, guesses: Vec::new(), n_came: 0 }
    }

    /// The session.
    pub(super) fn session(&self) -> &Session<'e> {
        &self.session
    }

    /// Positions of the text.
    pub(super) fn n_past(&self) -> usize {
        self.n_past
    }

    /// What guessing has done for this text; `None` without a speculator.
    pub(super) fn speculated(&self) -> Option<Speculated> {
        self.speculator.as_ref().map(Speculator::speculated)
    }

    /// Begins a text with `prompt`: keeps what the session has in common with it, as far as that can be gone back
    /// to, but for the last token, whose logits are needed. Returns the length of it.
    ///
    /// # Errors
    /// As [`Speculator::begin`].
    pub(super) fn begin(&mut self, prompt: &[u32], stop: &AtomicBool) -> Result<usize> {
        if let Some(speculator) = &mut self.speculator {
            speculator.begin(prompt, stop)?;
        }
        let cached = self.session.sequence().ids();
        let common = cached.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        self.n_past = self.session.rewind(common.min(prompt.len() - 1));
        Ok(self.n_past)
    }

    /// Evaluates tokens of the prompt; `None` if that was stopped.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub(super) fn read(&mut self, ids: &[u32], wanted: Logits, stop: &AtomicBool) -> Result<Option<&[f32]>> {
        let outcome = self.session.step_until(ids, wanted, stop).map(drop);
        self.n_past = self.session.n_past();
        match outcome {
            Ok(()) => Ok(Some(self.session.last_logits())),
            Err(Error::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Session::checkpoint`].
    pub(super) fn checkpoint(&mut self) {
        self.session.checkpoint();
    }

    /// Appends `id` and returns the logits after it; `sampler`, which has accepted it, will choose from them. Of the
    /// tokens that follow, at most `n_more` are wanted.
    ///
    /// # Errors
    /// As [`Session::step`] and [`Speculator::guess`].
    pub(super) fn step(&mut self, id: u32, n_more: usize, sampler: &Sampler) -> Result<&[f32]> {
        if let Some(speculator) = &mut self.speculator {
            speculator.accept(id);
        }
        if self.guesses.get(self.n_came) == Some(&id) {
            self.n_came += 1;
        } else {
            self.forget_guesses()?;
            let room = self.room(n_more);
            if let Some(speculator) = &mut self.speculator {
                self.guesses.extend_from_slice(speculator.guess(room, sampler)?);
            }
            self.evaluate(id)?;
        }
        self.n_past += 1;
        let row = self.row();
        Ok(&self.session.last_logits()[row])
    }

    /// Forgets what was evaluated ahead of the text.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub(super) fn forget_guesses(&mut self) -> Result<()> {
        self.guesses.clear();
        self.n_came = 0;
        if self.session.n_past() == self.n_past {
            return Ok(());
        }
        let sequence = self.session.sequence();
        let again = sequence.ids()[sequence.reach(self.n_past)..self.n_past].to_vec();
        self.session.rewind(self.n_past);
        if again.is_empty() { Ok(()) } else { self.session.step(&again, Logits::None).map(drop) }
    }

    /// Ends the text.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub(super) fn end(&mut self) -> Result<()> {
        if let Some(speculator) = &mut self.speculator {
            speculator.forget_guesses();
        }
        self.forget_guesses()
    }

    /// Guesses that may follow the next token: as many as the batch has room for and can be taken back, and as are wanted.
    fn room(&self, n_more: usize) -> usize {
        let most = self.speculator.as_ref().map_or(0, Speculator::most);
        self.session.sequence().room_ahead(most.min(self.session.n_batch() - 1).min(n_more.saturating_sub(1)))
    }

    /// Evaluates `id` and the guesses.
    fn evaluate(&mut self, id: u32) -> Result<()> {
        let start = Instant::now();
        if self.guesses.is_empty() {
            self.session.step(&[id], Logits::Last)?;
        } else {
            self.guesses.insert(0, id);
            self.session.forget_trail();
            let outcome = self.session.step_ahead(&self.guesses, Logits::All).map(drop);
            self.guesses.remove(0);
            outcome?;
        }
        if let Some(speculator) = &mut self.speculator {
            speculator.note_step(start.elapsed());
        }
        Ok(())
    }

    /// Where the logits after the text are among those of the last step.
    fn row(&self) -> Range<usize> {
        let n_vocab = self.session.engine().n_vocab();
        self.n_came * n_vocab..(self.n_came + 1) * n_vocab
    }
}
