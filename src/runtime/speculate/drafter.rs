//! What guesses have in common, wherever they come from.

use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::runtime::sampler::Sampler;

/// Kinds of guesses, from those that seldom come true to those that nearly always do.
pub const N_TRUSTS: u8 = 8;

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    /// The token.
    pub id: u32,
    /// How sure its drafter is, from 0 to [`N_TRUSTS`] - 1. How often guesses of each kind come true is learnt
    /// from the text.
    pub trust: u8,
}

/// What is known where a guess is made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Has accepted the text, and will choose the tokens.
    pub sampler: &'a Sampler,
}

/// Guesses how a text goes on. It may be wrong: what it guesses decides how fast a text comes, never which.
///
/// Guesses are asked for one at a time, so that the asker can end a draft that is not likely to last. What a
/// drafter needs beyond the tokens is a field of [`Known`]: for an output head that guesses several tokens ahead,
/// that will be the hidden state of the last one.
pub trait Drafter {
    /// Forgets everything and reads the beginning of a text. Ends early, with the text unread, once `stop` is
    /// true.
    ///
    /// # Errors
    /// Any that prevents all guesses.
    fn begin(&mut self, ids: &[u32], stop: &AtomicBool) -> Result<()>;

    /// Reads the next token of the text. The guesses made since the last one are forgotten.
    fn accept(&mut self, id: u32);

    /// Guesses the token after the text and the guesses made since its last token. `None` if there is nothing
    /// to guess with.
    ///
    /// # Errors
    /// As [`Drafter::begin`].
    fn guess(&mut self, known: Known<'_>) -> Result<Option<Guess>>;
}
