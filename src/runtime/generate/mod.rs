//! The token loop: a prompt goes in, text comes out piece by piece until something ends it.

mod ahead;
mod stop;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::sampler::BadLogits;
use super::speculate::{Speculated, Speculator};
use super::{Logits, Sampler, Session};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;
use ahead::Ahead;
pub use stop::{Passed, StopMatcher};

/// Tokens before the end of a prompt where a recurrent model's way back is: templates end prompts with a few tokens
/// that the next prompt has otherwise, and as many more cost little to compute again.
const MARGIN: usize = 32;

/// Stands in a text in front of what a token of [`Request::marked`] shows: a noncharacter, which no text has.
pub const TOKEN_MARK: char = '\u{fdd1}';

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The text to go on from.
    pub prompt: &'a [u32],
    /// Generates at most so many tokens; `None` goes on to the end of the text or of the context.
    pub max_tokens: Option<usize>,
    /// Ends the text before any of these; one that is a control token's spelling, before that token.
    pub stop_strings: &'a [String],
    /// Ends the text soon after this becomes true.
    pub stop: &'a AtomicBool,
    /// Tokens that are told from their text spelled in others, by [`TOKEN_MARK`].
    pub marked: Option<&'a HashSet<u32>>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, by this token.
    EndOfText(u32),
    /// The stop string with this index came.
    StopString(usize),
    /// It has as many tokens as were asked for.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The user stopped it.
    Interrupted,
}

/// How a generation went.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Why the text ended.
    pub finish: Finish,
    /// Tokens of the prompt; if the user stopped it, those that were read.
    pub n_prompt: usize,
    /// Of these, tokens that were in the cache already.
    pub n_reused: usize,
    /// The time it took to compute the others.
    pub prompt_time: Duration,
    /// Tokens generated, without the one that ended the text.
    pub n_generated: usize,
    /// Steps after the prompt: each gives the logits for one more token. Those that guesses saved count as well.
    pub n_steps: usize,
    /// The time those steps took, with choosing and showing their tokens.
    pub generation_time: Duration,
    /// What guesses did; `None` if there were to be none.
    pub speculated: Option<Speculated>,
}

/// A session that answers prompts. What a prompt has in common with the sequence so far is not computed
/// again.
pub struct Generator<'e> {
    ahead: Ahead<'e>,
    tokenizer: &'e Tokenizer,
}

impl<'e> Generator<'e> {
    /// A generator over `session`.
    pub fn new(session: Session<'e>, tokenizer: &'e Tokenizer) -> Self {
        Self { ahead: Ahead::new(session, None), tokenizer }
    }

    /// A generator that guesses: its texts are the same, and come sooner.
    pub fn speculating(session: Session<'e>, tokenizer: &'e Tokenizer, speculator: Speculator<'e>) -> Self {
        Self { ahead: Ahead::new(session, Some(speculator)), tokenizer }
    }

    /// The session.
    pub fn session(&self) -> &Session<'e> {
        self.ahead.session()
    }

    /// Generates what `request` asks for. `show` is given the text in pieces: whole characters, and
    /// no part of a stop string. `sampler` sees the prompt and every token.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty prompt, [`Error::Limit`] for one longer than the context, before
    /// anything is computed; [`Error::Malformed`] for logits that are not numbers; what `show`,
    /// [`Session::step`] and a drafter give.
    pub fn run(
        &mut self,
        request: &Request<'_>,
        sampler: &mut Sampler,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generation> {
        self.check(request.prompt)?;
        let start = Instant::now();
        let n_reused = self.ahead.begin(request.prompt, request.stop)?;
        sampler.forget();
        request.prompt.iter().for_each(|&id| sampler.accept(id));
        let mut generation = Generation {
            finish: Finish::Interrupted,
            n_prompt: request.prompt.len(),
            n_reused,
            prompt_time: Duration::ZERO,
            n_generated: 0,
            n_steps: 0,
            generation_time: Duration::ZERO,
            speculated: None,
        };
        let first = self.evaluate_prompt(request, sampler)?;
        generation.prompt_time = start.elapsed();
        // Of a prompt that was stopped, what was read; it may have cost positions that were there.
        generation.n_prompt = self.ahead.n_past();
        generation.n_reused = n_reused.min(generation.n_prompt);
        if let Some(first) = first {
            // The next prompt often goes on from here: an answer may be asked for again, and templates leave
            // parts of it out, as what the model thought.
            self.ahead.checkpoint();
            let start = Instant::now();
            let outcome = self.go_on(first, request, sampler, show, &mut generation);
            // However the text ends, the session holds no more than it.
            outcome.and(self.ahead.end())?;
            generation.generation_time = start.elapsed();
        }
        generation.speculated = self.ahead.speculated();
        Ok(generation)
    }

    /// Whether `prompt` can be evaluated at all.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is empty, [`Error::Limit`] if it is longer than the context.
    pub fn check(&self, prompt: &[u32]) -> Result<()> {
        let n_ctx = self.session().n_ctx();
        if prompt.is_empty() {
            return Err(Error::usage("the prompt is empty; give the model some text to go on from"));
        }
        if prompt.len() > n_ctx {
            return Err(Error::limit(format!(
                "the prompt has {} tokens and the context holds {n_ctx}; shorten the prompt, or make the context \
                 longer (--ctx)",
                prompt.len(),
            )));
        }
        Ok(())
    }

    /// Computes the rest of the prompt and chooses the first token; `None` if the user stopped it.
    fn evaluate_prompt(&mut self, request: &Request<'_>, sampler: &mut Sampler) -> Result<Option<u32>> {
        let n = request.prompt.len();
        if self.session().sequence().has_states() {
            // Only checkpoints are ways back, and the next prompt often differs from this one in its last tokens.
            if !self.read_until(n.saturating_sub(MARGIN), request)? {
                return Ok(None);
            }
            self.ahead.checkpoint();
        }
        let n_last = (n - self.ahead.n_past() - 1) % self.session().n_batch() + 1;
        if !self.read_until(n - n_last, request)? {
            return Ok(None);
        }
        let last = &request.prompt[n - n_last..];
        let Some(logits) = self.ahead.read(last, Logits::Last, request.stop)? else { return Ok(None) };
        let chosen = sampler.sample(logits);
        chosen.map(Some).map_err(|bad| self.malformed(bad))
    }

    /// Computes the prompt up to position `end`; returns whether the user let it.
    fn read_until(&mut self, end: usize, request: &Request<'_>) -> Result<bool> {
        let n_batch = self.session().n_batch();
        while self.ahead.n_past() < end {
            let start = self.ahead.n_past();
            let batch = &request.prompt[start..end.min(start + n_batch)];
            if self.ahead.read(batch, Logits::None, request.stop)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn malformed(&self, bad: BadLogits) -> Error {
        let what = format!("{bad}; convert or download the model again");
        Error::malformed(self.session().engine().file().path(), what)
    }

    /// Shows `next` and what the model adds to it.
    fn go_on(
        &mut self,
        mut next: u32,
        request: &Request<'_>,
        sampler: &mut Sampler,
        show: &mut dyn FnMut(&str) -> Result<()>,
        generation: &mut Generation,
    ) -> Result<()> {
        let mut decoder = self.tokenizer.decoder();
        let mut matcher = StopMatcher::new(request.stop_strings);
        let n_more =
            |n_generated| request.max_tokens.map_or(usize::MAX, |max| max.saturating_sub(n_generated));
        let is_enough = |n_generated| n_more(n_generated) == 0;
        // A control token is not shown as text: it stops by itself.
        let stop_tokens: Vec<Option<u32>> =
            request.stop_strings.iter().map(|text| self.tokenizer.control_token(text)).collect();
        let stopped_by = |id: u32| stop_tokens.iter().position(|stop| *stop == Some(id));
        generation.finish = loop {
            if is_enough(generation.n_generated) {
                break Finish::MaxTokens;
            }
            if self.tokenizer.is_end_of_generation(next) {
                break Finish::EndOfText(next);
            }
            if let Some(index) = stopped_by(next) {
                break Finish::StopString(index);
            }
            sampler.accept(next);
            generation.n_generated += 1;
            let mut text = decoder.push(next);
            let marked;
            if request.marked.is_some_and(|ids| ids.contains(&next)) && !text.is_empty() {
                marked = format!("{TOKEN_MARK}{text}");
                text = &marked;
            }
            let passed = matcher.push(text);
            if !passed.text.is_empty() {
                show(passed.text)?;
            }
            if let Some(index) = passed.stopped_by {
                generation.finish = Finish::StopString(index);
                return Ok(());
            }
            if request.stop.load(Ordering::Relaxed) {
                break Finish::Interrupted;
            }
            // Before the step, whose logits would be unused.
            if is_enough(generation.n_generated) {
                break Finish::MaxTokens;
            }
            if self.ahead.n_past() >= self.session().n_ctx() {
                break Finish::ContextFull;
            }
            let chosen = sampler.sample(self.ahead.step(next, n_more(generation.n_generated), sampler)?);
            next = chosen.map_err(|bad| self.malformed(bad))?;
            generation.n_steps += 1;
        };
        let passed = matcher.push(decoder.finish());
        if let Some(index) = passed.stopped_by {
            generation.finish = Finish::StopString(index);
        }
        let mut rest = passed.text.to_owned();
        rest.push_str(&matcher.finish());
        if rest.is_empty() { Ok(()) } else { show(&rest) }
    }
}
