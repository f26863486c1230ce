//! A text cut into chunks for evaluation.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::printable::plural;

/// A tokenised text in chunks of `n_ctx` tokens. Each chunk is evaluated from an empty cache with
/// its first token replaced by the beginning-of-text token, if the model wants one; the tokens of
/// its second half are scored, each given all before it. What does not fill a chunk is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    tokens: Vec<u32>,
    n_ctx: usize,
    n_chunks: usize,
    first_token: Option<u32>,
}

/// The shortest chunk: scoring fewer than its second half says nothing.
const MIN_N_CTX: usize = 16;

impl Chunks {
    /// Cuts `tokens` into chunks of `n_ctx`, at most `max_chunks` of them. `first_token` replaces the
    /// first of each.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer than `2 n_ctx` tokens (the protocol asks for as many), or
    /// `n_ctx` or `max_chunks` is too small.
    pub fn new(
        tokens: Vec<u32>,
        n_ctx: usize,
        max_chunks: Option<usize>,
        first_token: Option<u32>,
    ) -> Result<Self> {
        if n_ctx < MIN_N_CTX {
            return Err(Error::usage(format!(
                "--ctx {n_ctx} is too short to score; give {MIN_N_CTX} or more"
            )));
        }
        if max_chunks == Some(0) {
            return Err(Error::usage("--chunks 0 leaves nothing to score; give 1 or more"));
        }
        let needed = n_ctx.saturating_mul(2);
        if tokens.len() < needed {
            let (n_tokens, fits) = (tokens.len(), tokens.len() / 2);
            let what = format!(
                "the text has {}; chunks of {n_ctx} (--ctx) need at least {needed}",
                plural(n_tokens, "token")
            );
            return Err(Error::usage(if fits < MIN_N_CTX {
                let least = 2 * MIN_N_CTX;
                format!("{what}: give a longer text; with --ctx {MIN_N_CTX}, the least, it needs {least}")
            } else {
                format!("{what}: give a longer text, or --ctx {fits} or less")
            }));
        }
        let n_chunks = (tokens.len() / n_ctx).min(max_chunks.unwrap_or(usize::MAX));
        Ok(Self { tokens, n_ctx, n_chunks, first_token })
    }

    /// Whole chunks of `n_ctx`, which some other program cut.
    ///
    /// # Errors
    /// [`Error::Usage`] if they are too short to score.
    ///
    /// # Panics
    /// If there are none, or they are not whole.
    pub fn of_whole(tokens: Vec<u32>, n_ctx: usize, first_token: Option<u32>) -> Result<Self> {
        if n_ctx < 4 {
            return Err(Error::usage(format!("chunks of {n_ctx} tokens are too short to score")));
        }
        assert!(!tokens.is_empty() && tokens.len().is_multiple_of(n_ctx), "whole chunks");
        Ok(Self { n_chunks: tokens.len() / n_ctx, tokens, n_ctx, first_token })
    }

    /// The first `n` of them, or all.
    #[must_use]
    pub fn first(self, n: usize) -> Self {
        Self { n_chunks: self.n_chunks.min(n), ..self }
    }

    /// The tokens of all chunks, none of them replaced.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens[..self.n_chunks * self.n_ctx]
    }

    /// How many chunks there are; at least 1.
    pub fn n_chunks(&self) -> usize {
        self.n_chunks
    }

    /// Tokens in a chunk.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Positions whose logits are scored; that of position `i` predicts token `i + 1`.
    pub fn scored(&self) -> Range<usize> {
        self.n_ctx / 2..self.n_ctx - 1
    }

    /// The tokens of chunk `index`, as evaluated and scored.
    ///
    /// # Panics
    /// If there are not so many chunks.
    pub fn chunk(&self, index: usize) -> Vec<u32> {
        let mut chunk = self.tokens[index * self.n_ctx..][..self.n_ctx].to_vec();
        if let Some(token) = self.first_token {
            chunk[0] = token;
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_is_dropped_and_first_tokens_are_replaced() {
        let chunks = Chunks::new((0..70).collect(), 32, None, Some(99)).expect("long enough");
        assert_eq!(chunks.n_chunks(), 2);
        assert_eq!(chunks.chunk(1)[..3], [99, 33, 34]);
        assert_eq!(chunks.chunk(1)[31], 63);
        let chunks = Chunks::new((0..70).collect(), 32, Some(1), None).expect("long enough");
        assert_eq!((chunks.n_chunks(), chunks.chunk(0)[0]), (1, 0));
    }

    #[test]
    fn second_half_is_scored_but_for_the_last_position() {
        let chunks = Chunks::new(vec![0; 1024], 512, None, None).expect("long enough");
        assert_eq!(chunks.scored(), 256..511);
        assert_eq!(chunks.scored().len(), 255);
    }

    #[test]
    fn short_text_is_refused_with_the_tokens_it_needs() {
        let error = Chunks::new(vec![0; 1000], 512, None, None).expect_err("too short").to_string();
        assert!(error.contains("1000 tokens") && error.contains("1024") && error.contains("500"), "{error}");
        assert!(Chunks::new(vec![0; 100], 8, None, None).is_err());
        assert!(Chunks::new(vec![0; 100], 16, Some(0), None).is_err());
    }
}
