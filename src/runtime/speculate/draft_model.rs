//! Guesses from a smaller model of the same vocabulary.

use std::sync::atomic::AtomicBool;

use super::drafter::{Drafter, Guess, Known, N_TRUSTS};
use crate::error::{Error, Result};
use crate::runtime::sampler::{Sampler, SamplerOptions};
use crate::runtime::{Logits, Session};
use crate::tokenizer::{TokenType, Tokenizer};

/// A model that guesses for another one.
///
/// It chooses as that one will: with the same options, penalties and random numbers. At any temperature two
/// distributions that are alike then mostly give the same token, where the likeliest one would only be right as
/// often as it is drawn.
#[derive(Debug)]
pub struct DraftModel<'e> {
    session: Session<'e>,
    /// Tokens that both models have.
    n_vocab: usize,
    /// The text, and behind it the guesses since its last token. The session holds a beginning of them, or of
    /// those before.
    ids: Vec<u32>,
    /// Tokens of the text.
    n_text: usize,
    sampler: Sampler,
}

impl<'e> DraftModel<'e> {
    /// Guesses with `session`, whose model has the vocabulary of `tokenizer`, for a model with `n_vocab` logits
    /// and the vocabulary of `target`, up to `most` tokens ahead.
    ///
    /// # Errors
    /// [`Error::Usage`] if the vocabularies differ.
    pub fn new(
        mut session: Session<'e>,
        tokenizer: &Tokenizer,
        (target, n_vocab): (&Tokenizer, usize),
        most: usize,
    ) -> Result<Self> {
        if let Some(what) = difference(target, tokenizer) {
            return Err(Error::usage(format!(
                "{} cannot draft for this model, whose vocabulary is another: {what}; give a smaller model of the same \
                 family (--draft), or leave it out",
                session.engine().file().path().display(),
            )));
        }
        session.reserve_trail(most.saturating_add(1));
        let n_vocab = n_vocab.min(session.engine().n_vocab());
        let sampler = Sampler::new(SamplerOptions::default())?;
        Ok(Self { session, n_vocab, ids: Vec::new(), n_text: 0, sampler })
    }

    /// The session.
    pub fn session(&self) -> &Session<'e> {
        &self.session
    }
}

impl Drafter for DraftModel<'_> {
    fn begin(&mut self, ids: &[u32], stop: &AtomicBool) -> Result<()> {
        self.ids.clear();
        self.ids.extend_from_slice(ids);
        self.n_text = ids.len();
        if ids.len() > self.session.n_ctx() || ids.iter().any(|&id| id as usize >= self.n_vocab) {
            return Ok(());
        }
        let kept = keep_common(&mut self.session, ids, ids.len());
        for batch in ids[kept..].chunks(self.session.n_batch()) {
            match self.session.step_until(batch, Logits::None, stop) {
                Ok(_) => {}
                Err(Error::Interrupted) => break,
                Err(error) => return Err(error),
            }
        }
        self.session.checkpoint();
        Ok(())
    }

    fn accept(&mut self, id: u32) {
        self.ids.truncate(self.n_text);
        self.ids.push(id);
        self.n_text += 1;
    }

    fn guess(&mut self, known: Known<'_>) -> Result<Option<Guess>> {
        let is_strange = |&id: &u32| id as usize >= self.n_vocab;
        if self.ids.is_empty() || self.ids.len() > self.session.n_ctx() || self.ids.iter().any(is_strange) {
            return Ok(None);
        }
        if self.ids.len() == self.n_text {
            self.sampler.follow(known.sampler);
        }
        let logits = evaluate(&mut self.session, &self.ids)?;
        let guess = choose(&mut self.sampler, &logits[..self.n_vocab]);
        if let Some(Guess { id, .. }) = guess {
            self.sampler.accept(id);
            self.ids.push(id);
        }
        Ok(guess)
    }
}

/// The logits after `ids`, of which the session may have evaluated a part.
fn evaluate<'s>(session: &'s mut Session<'_>, ids: &[u32]) -> Result<&'s [f32]> {
    let kept = keep_common(session, ids, ids.len() - 1);
    session.step_ahead(&ids[kept..], Logits::Last)
}

/// Rewinds to what the session has in common with `ids`, at most `most` positions; returns how many are kept.
fn keep_common(session: &mut Session<'_>, ids: &[u32], most: usize) -> usize {
    let held = session.sequence().ids();
    let common = held.iter().zip(ids).take_while(|(a, b)| a == b).count();
    session.rewind(common.min(most))
}

/// What `sampler` chooses, and how far that is above all else. Logits that are not numbers give no guess.
fn choose(sampler: &mut Sampler, logits: &[f32]) -> Option<Guess> {
    let id = sampler.sample(logits).ok()?;
    let (before, from) = logits.split_at(id as usize);
    let (own, behind) = from.split_first()?;
    let other = before.iter().chain(behind).copied().fold(f32::NEG_INFINITY, f32::max);
    Some(Guess { id, trust: trust_of(own - other) })
}

/// The trust in a token whose logit is `lead` above the others'.
fn trust_of(lead: f32) -> u8 {
    const LEAST: [f32; N_TRUSTS as usize - 1] = [0.0, 0.5, 1.0, 2.0, 3.0, 4.5, 7.0];
    LEAST.iter().filter(|&&least| lead >= least).count() as u8
}

/// The first difference between two vocabularies, if there is one. One may have more tokens at its end, if
/// they are never used: files fill their tables up.
fn difference(target: &Tokenizer, draft: &Tokenizer) -> Option<String> {
    let (n_target, n_draft) = (target.n_vocab(), draft.n_vocab());
    let common = n_target.min(n_draft) as u32;
    let shown = |tokenizer: &Tokenizer, id| format!("{:?}", tokenizer.token_text(id).unwrap_or_default());
    if let Some(id) = (0..common).find(|&id| target.token_text(id) != draft.token_text(id)) {
        return Some(format!("token {id} is {} and not {}", shown(draft, id), shown(target, id)));
    }
    let longer = if n_target > n_draft { target } else { draft };
    let is_used = |&id: &u32| longer.token_type(id) != Some(TokenType::Unused);
    let used = (common..longer.n_vocab() as u32).find(is_used)?;
    Some(format!("it has {n_draft} tokens and not {n_target}, and token {used} is {}", shown(longer, used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_trusted_by_its_lead_over_the_others() {
        let mut sampler =
            Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap();
        let trust = |logits: &[f32], sampler: &mut Sampler| {
            choose(sampler, logits).map(|guess| (guess.id, guess.trust))
        };
        assert_eq!(trust(&[1.0, 4.5, 2.0], &mut sampler), Some((1, 4)));
        assert_eq!(trust(&[8.0, 0.0, 0.0], &mut sampler), Some((0, 7)));
        assert_eq!(trust(&[f32::NAN, 0.0], &mut sampler), None);
        // The likeliest token is not chosen.
        sampler.ban(1);
        assert_eq!(trust(&[1.0, 4.5, 2.0], &mut sampler), Some((2, 0)));
    }
}
