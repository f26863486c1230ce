//! Guesses from the text itself: what came after the last tokens when they stood there before.
//!
//! Every pair of neighbouring tokens is indexed by the position after it, and each such position knows the one
//! before it with the same pair, so that the places where the last two tokens occurred form a chain, the latest
//! first. A guess follows the place with the longest match backwards. The longer the match, the surer the guess.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use super::drafter::{Drafter, Guess, Known, N_TRUSTS};
use crate::error::Result;

/// Places of a chain that are compared with the end of the text.
const MAX_PLACES: usize = 64;

/// Tokens that are compared at most.
const MAX_MATCH: usize = 64;

/// The end of a chain.
const NOWHERE: u32 = u32::MAX;

/// Guesses that a text repeats itself.
#[derive(Debug, Default)]
pub struct NGrams {
    /// The text, and behind it the guesses since its last token.
    ids: Vec<u32>,
    /// Tokens of the text.
    n_text: usize,
    /// The last position after each pair of tokens.
    last: HashMap<[u32; 2], u32>,
    /// `[n_text + 1]`: the position before with the same pair of tokens before it.
    before: Vec<u32>,
    /// Where the next guess is read, and the length of the match that it follows.
    source: Option<Match>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    /// The position after the tokens that match the end of the text.
    at: usize,
    len: usize,
}

impl NGrams {
    /// Guesses nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Indexes the end of the text.
    fn index(&mut self) {
        let at = self.n_text as u32;
        let before = match self.ids[..self.n_text] {
            [.., a, b] => self.last.insert([a, b], at).unwrap_or(NOWHERE),
            _ => NOWHERE,
        };
        self.before.push(before);
    }

    /// The longest match of the end of the text with an earlier place; of several, the last one.
    fn find(&self) -> Option<Match> {
        let text = &self.ids[..self.n_text];
        let next = |at: &u32| Some(self.before[*at as usize]).filter(|&at| at != NOWHERE);
        let places = std::iter::successors(next(&(self.n_text as u32)), next).take(MAX_PLACES);
        let len_at = |at: usize| {
            let pairs = text[..at].iter().rev().zip(text.iter().rev());
            pairs.take(MAX_MATCH).take_while(|(a, b)| a == b).count()
        };
        let matches = places.map(|at| Match { at: at as usize, len: len_at(at as usize) });
        matches.reduce(|best, other| if other.len > best.len { other } else { best })
    }
}

impl Drafter for NGrams {
    fn begin(&mut self, ids: &[u32], _: &AtomicBool) -> Result<()> {
        self.ids.clear();
        self.n_text = 0;
        self.last.clear();
        self.before.clear();
        self.index();
        ids.iter().for_each(|&id| self.accept(id));
        Ok(())
    }

    fn accept(&mut self, id: u32) {
        self.ids.truncate(self.n_text);
        self.ids.push(id);
        self.n_text += 1;
        self.source = None;
        self.index();
    }

    fn guess(&mut self, _: Known<'_>) -> Result<Option<Guess>> {
        if self.ids.len() == self.n_text {
            self.source = self.find();
        }
        Ok(self.source.map(|Match { at, len }| {
            // Of a text that repeats what has just begun, this reads guesses.
            let id = self.ids[at];
            self.ids.push(id);
            self.source = Some(Match { at: at + 1, len: len + 1 });
            Guess { id, trust: trust_of(len) }
        }))
    }
}

/// The trust in what follows a match of so many tokens.
fn trust_of(len: usize) -> u8 {
    const LEAST: [usize; N_TRUSTS as usize - 1] = [3, 4, 5, 7, 10, 16, 32];
    LEAST.iter().filter(|&&least| len >= least).count() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sampler::{Sampler, SamplerOptions};

    fn guesses(drafter: &mut NGrams, n: usize) -> Vec<u32> {
        let sampler = Sampler::new(SamplerOptions::default()).unwrap();
        let guesses = std::iter::from_fn(|| drafter.guess(Known { sampler: &sampler }).unwrap());
        guesses.take(n).map(|guess| guess.id).collect()
    }

    fn after(text: &[u32]) -> NGrams {
        let mut drafter = NGrams::new();
        drafter.begin(text, &AtomicBool::new(false)).unwrap();
        drafter
    }

    #[test]
    fn what_followed_the_longest_match_is_guessed() {
        assert_eq!(guesses(&mut after(&[1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3]), 3), [4, 9, 2]);
        assert_eq!(
            guesses(&mut after(&[9, 2, 3, 5, 8, 2, 3, 4, 7, 2, 3]), 2),
            [4, 7],
            "the later one of equals"
        );
    }

    #[test]
    fn a_text_that_repeats_nothing_is_not_guessed() {
        for text in [&[][..], &[1], &[1, 1], &[1, 2], &[1, 2, 3, 2], &[1, 2, 3, 4]] {
            assert!(guesses(&mut after(text), 4).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn what_has_just_begun_to_repeat_itself_is_guessed_to_go_on() {
        assert_eq!(guesses(&mut after(&[5, 5, 5]), 4), [5, 5, 5, 5]);
        assert_eq!(guesses(&mut after(&[1, 2, 1, 2]), 5), [1, 2, 1, 2, 1]);
    }

    #[test]
    fn a_token_of_the_text_takes_the_place_of_the_guesses() {
        let mut drafter = after(&[1, 2, 3, 4, 9, 2, 3, 6, 1, 2]);
        assert_eq!(guesses(&mut drafter, 3), [3, 4, 9]);
        drafter.accept(3);
        assert_eq!(guesses(&mut drafter, 2), [4, 9]);
        drafter.accept(7);
        assert!(guesses(&mut drafter, 2).is_empty());
        let text = [1, 2, 3, 4, 9, 2, 3, 6, 1, 2, 3, 7];
        assert_eq!(drafter.ids, text);
        text.iter().take(2).for_each(|&id| drafter.accept(id));
        assert_eq!(guesses(&mut drafter, 2), [3, 7]);
    }

    #[test]
    fn longer_matches_are_trusted_more() {
        assert_eq!([2, 3, 4, 6, 9, 15, 31, 999].map(trust_of), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
