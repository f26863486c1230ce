//! Speculation: several guessed tokens are evaluated in one step, which takes little longer than one token does,
//! and those that the sampler chooses anyway are kept.
//!
//! The text is the same with and without, to the last token, at any temperature. Logits do not depend on the batch,
//! so a guessed position has the logits it would have had alone; the sampler looks at them one position after the
//! other, with the same random numbers and penalties, and a guess counts only if it is what the sampler chose.
//! What comes after the first wrong guess is forgotten unseen.
//!
//! A [`Drafter`] guesses ([`NGrams`] from the text, [`DraftModel`] with a smaller model), a [`Speculator`] decides
//! how many guesses are worth checking, and the generator evaluates them.

mod draft_model;
mod drafter;
mod ngrams;
mod pace;

use std::ops::Add;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::sampler::Sampler;
use crate::error::Result;
pub use draft_model::DraftModel;
pub use drafter::{Drafter, Guess, Known, N_TRUSTS};
pub use ngrams::NGrams;
use pace::Pace;

/// What guessing has done for a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speculated {
    /// Guesses that were evaluated.
    pub n_guessed: usize,
    /// Those that came true: each saved a step.
    pub n_accepted: usize,
    /// Steps that evaluated guesses.
    pub n_steps: usize,
    /// Seconds won by that, measured against the steps without guesses; less than 0 if it was a loss.
    pub seconds_won: f64,
}

impl Add for Speculated {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            n_guessed: self.n_guessed + other.n_guessed,
            n_accepted: self.n_accepted + other.n_accepted,
            n_steps: self.n_steps + other.n_steps,
            seconds_won: self.seconds_won + other.seconds_won,
        }
    }
}

/// Decides what to guess of one text at a time. What it learns of the times of steps, and of the chances of
/// guesses, it keeps from text to text.
pub struct Speculator<'d> {
    drafter: Box<dyn Drafter + 'd>,
    most: usize,
    pace: Pace,
    /// The guesses since the last step: first those that the step evaluates.
    guesses: Vec<Guess>,
    /// `[n_checked]`: their ids.
    checked: Vec<u32>,
    /// Those of them that have come true.
    n_came: usize,
    /// The time that the guesses took, and the step that evaluates some of them.
    guess_time: Duration,
    step_time: Duration,
    speculated: Speculated,
}

impl<'d> Speculator<'d> {
    /// Evaluates at most `most` guesses of `drafter` together, fewer or none where that would lose time.
    pub fn new(drafter: Box<dyn Drafter + 'd>, most: usize) -> Self {
        Self::with(drafter, most, Pace::new(most))
    }

    /// Evaluates `most` guesses of `drafter` together whenever there are as many, whatever that costs.
    pub fn eager(drafter: Box<dyn Drafter + 'd>, most: usize) -> Self {
        Self::with(drafter, most, Pace::eager(most))
    }

    fn with(drafter: Box<dyn Drafter + 'd>, most: usize, pace: Pace) -> Self {
        Self {
            drafter,
            most,
            pace,
            guesses: Vec::new(),
            checked: Vec::new(),
            n_came: 0,
            guess_time: Duration::ZERO,
            step_time: Duration::ZERO,
            speculated: Speculated::default(),
        }
    }

    /// The guesses that it evaluates together, at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// What it has done for the text so far.
    pub fn speculated(&self) -> Speculated {
        self.speculated
    }

    /// Begins a text.
    ///
    /// # Errors
    /// As [`Drafter::begin`].
    pub fn begin(&mut self, ids: &[u32], stop: &AtomicBool) -> Result<()> {
        self.forget_guesses();
        self.speculated = Speculated::default();
        self.drafter.begin(ids, stop)
    }

    /// Reads the next token of the text.
    pub fn accept(&mut self, id: u32) {
        if let Some(&guess) = self.guesses.get(self.n_came) {
            let came = guess.id == id;
            self.pace.note_guess(guess.trust, came);
            if came {
                self.n_came += 1;
            } else {
                self.guesses.truncate(self.n_came);
            }
        }
        self.drafter.accept(id);
    }

    /// At most `room` guesses for the next step to evaluate behind the last token of the text; often none.
    ///
    /// # Errors
    /// As [`Drafter::guess`].
    pub fn guess(&mut self, room: usize, sampler: &Sampler) -> Result<&[u32]> {
        self.forget_guesses();
        let start = Instant::now();
        let n_guesses = self.pace.n_guesses(self.most.min(room));
        let mut draft = self.pace.draft();
        while self.guesses.len() < n_guesses && draft.may_go_on() {
            let Some(guess) = self.drafter.guess(Known { sampler })? else { break };
            draft.push(guess.trust);
            self.guesses.push(guess);
        }
        let n_checked = draft.n_worth_it();
        self.guess_time = start.elapsed();
        self.pace.note_guessing(self.guesses.len(), self.guess_time);
        // One more is compared with what comes, to learn from.
        self.guesses.truncate(n_checked.max(1));
        self.checked.extend(self.guesses[..n_checked].iter().map(|guess| guess.id));
        Ok(&self.checked)
    }

    /// Notes that the step with the last guesses took `time`.
    pub fn note_step(&mut self, time: Duration) {
        let n_checked = self.checked.len();
        self.pace.note_step(1 + n_checked, time);
        self.step_time = time;
        self.speculated.n_guessed += n_checked;
        self.speculated.n_steps += usize::from(n_checked > 0);
    }

    /// Ends the text, or what the last guesses were about.
    pub fn forget_guesses(&mut self) {
        // A step without guesses is what others are measured against.
        let (n_tokens, time) = match self.checked.len() {
            0 => (0, self.guess_time),
            n_checked => (1 + self.n_came.min(n_checked), self.guess_time + self.step_time),
        };
        self.speculated.n_accepted += n_tokens.saturating_sub(1);
        self.speculated.seconds_won += self.pace.note_gain(n_tokens, time);
        self.guesses.clear();
        self.checked.clear();
        self.n_came = 0;
        self.guess_time = Duration::ZERO;
    }
}
