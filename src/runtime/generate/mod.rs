//! The token loop: a prompt goes in, text comes out piece by piece until something ends it.

mod stop;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Logits, Sampler, Session};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;
pub use stop::{Passed, StopMatcher};

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The text to go on from.
    pub prompt: &'a [u32],
    /// Generates at most so many tokens; `None` goes on to the end of the text or of the context.
    pub max_tokens: Option<usize>,
    /// Ends the text before any of these.
    pub stop_strings: &'a [String],
    /// Ends the text soon after this becomes true.
    pub stop: &'a AtomicBool,
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
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of these, tokens that were in the cache already.
    pub n_reused: usize,
    /// The time it took to compute the others.
    pub prompt_time: Duration,
    /// Tokens generated, without the one that ended the text.
    pub n_generated: usize,
    /// Steps after the prompt: each computes the logits for one more token.
    pub n_steps: usize,
    /// The time those steps took, with choosing and showing their tokens.
    pub generation_time: Duration,
}

/// A session that answers prompts. What a prompt has in common with the sequence so far is not computed
/// again.
pub struct Generator<'e> {
    session: Session<'e>,
    tokenizer: &'e Tokenizer,
}

impl<'e> Generator<'e> {
    /// A generator over `session`.
    pub fn new(session: Session<'e>, tokenizer: &'e Tokenizer) -> Self {
        Self { session, tokenizer }
    }

    /// The session.
    pub fn session(&self) -> &Session<'e> {
        &self.session
    }

    /// Generates what `request` asks for. `show` is given the text in pieces: whole characters, and
    /// no part of a stop string. `sampler` sees the prompt and every token.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty prompt, [`Error::Limit`] for one longer than the context, before
    /// anything is computed; [`Error::Malformed`] for logits that are not numbers; what `show` and
    /// [`Session::step`] give.
    pub fn run(
        &mut self,
        request: &Request<'_>,
        sampler: &mut Sampler,
        show: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generation> {
        self.check(request.prompt)?;
        let start = Instant::now();
        let n_reused = self.keep_common_prefix(request.prompt);
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
        };
        let first = self.evaluate_prompt(request, sampler)?;
        generation.prompt_time = start.elapsed();
        if let Some(first) = first {
            // The next prompt often goes on from here: an answer may be asked for again, and templates leave
            // parts of it out, as what the model thought.
            self.session.checkpoint();
            let start = Instant::now();
            self.go_on(first, request, sampler, show, &mut generation)?;
            generation.generation_time = start.elapsed();
        }
        Ok(generation)
    }

    /// Whether `prompt` can be evaluated at all.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is empty, [`Error::Limit`] if it is longer than the context.
    pub fn check(&self, prompt: &[u32]) -> Result<()> {
        let n_ctx = self.session.n_ctx();
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

    /// Keeps what cache and `prompt` have in common, as far as that can be gone back to, but for the last token
    /// of the prompt, whose logits are needed. Returns the length of it.
    fn keep_common_prefix(&mut self, prompt: &[u32]) -> usize {
        let cached = self.session.sequence().ids();
        let common = cached.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = common.min(prompt.len() - 1);
        self.session.rewind(kept)
    }

    /// Computes the rest of the prompt and chooses the first token; `None` if the user stopped it.
    fn evaluate_prompt(&mut self, request: &Request<'_>, sampler: &mut Sampler) -> Result<Option<u32>> {
        let rest = &request.prompt[self.session.n_past()..];
        let n_batch = self.session.n_batch();
        let n_last = (rest.len() - 1) % n_batch + 1;
        let (before, last) = rest.split_at(rest.len() - n_last);
        for batch in before.chunks(n_batch) {
            if request.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.session.step(batch, Logits::None)?;
        }
        self.step(last, sampler).map(Some)
    }

    /// Computes `ids` and chooses the token after them.
    fn step(&mut self, ids: &[u32], sampler: &mut Sampler) -> Result<u32> {
        let logits = self.session.step(ids, Logits::Last)?;
        sampler.sample(logits).map_err(|bad| {
            let what = format!("{bad}; convert or download the model again");
            Error::malformed(self.session.engine().file().path(), what)
        })
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
        let is_enough = |n_generated| request.max_tokens.is_some_and(|max| n_generated >= max);
        generation.finish = loop {
            if is_enough(generation.n_generated) {
                break Finish::MaxTokens;
            }
            if self.tokenizer.is_end_of_generation(next) {
                break Finish::EndOfText(next);
            }
            sampler.accept(next);
            generation.n_generated += 1;
            let passed = matcher.push(decoder.push(next));
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
            if self.session.n_past() >= self.session.n_ctx() {
                break Finish::ContextFull;
            }
            next = self.step(&[next], sampler)?;
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
