//! What is remembered of the last few tokens, by a table of n-grams.

use gguf_simd::ops::MAX_TAPS;

use super::NormSpec;
use crate::limits;
use crate::model::spec::faults::first_count_fault;

/// A table of n-grams whose rows are added to the streams of a token (Qwen4, "PLE"; Cheng et al. 2026, "Engram"): each
/// n-gram that ends at a token, of two tokens or more, names some rows by its hashes; they become a key for each stream
/// and a value, which goes to a stream as far as that answers to its key, and again through a convolution over positions.
#[derive(Clone, Debug, PartialEq)]
pub struct NgramSpec {
    /// Width of a stream.
    pub n_embd: usize,
    /// Streams of a token.
    pub n_stream: usize,
    /// Tokens of the longest n-gram, and positions from one tap of the convolution to the next.
    pub n_gram: usize,
    /// Elements of a row of the table.
    pub row_len: usize,
    /// Taps of the convolution.
    pub n_taps: usize,
    /// The token that n-grams do not reach across, and that stands for those that are missing.
    pub end: u32,
    /// `[n_gram]`: what multiplies the tokens of an n-gram, the last first.
    pub multipliers: Vec<u64>,
    /// The rows of each hash, equally many hashes for each length: where they begin and how many they are.
    pub hashes: Vec<(u64, u64)>,
    /// Of keys, of streams and of what is convolved.
    pub norm: NormSpec,
}

impl NgramSpec {
    /// Elements of all streams of a token.
    pub fn width(&self) -> usize {
        self.n_stream * self.n_embd
    }

    /// Elements of all rows of a token.
    pub fn n_embedded(&self) -> usize {
        self.hashes.len() * self.row_len
    }

    /// Rows of the table.
    pub fn n_rows(&self) -> usize {
        let ends = self.hashes.iter().map(|&(first, n)| first.saturating_add(n));
        usize::try_from(ends.max().unwrap_or(0)).unwrap_or(usize::MAX)
    }

    /// Tokens that it remembers.
    pub fn n_tokens(&self) -> usize {
        self.n_gram - 1
    }

    /// Positions that its convolution reaches back.
    pub fn n_history(&self) -> usize {
        (self.n_taps - 1) * self.n_gram
    }

    /// Floats that it remembers: tokens, then what is convolved.
    pub fn state_len(&self) -> usize {
        self.n_tokens().saturating_add(self.n_history().saturating_mul(self.width()))
    }

    pub(in crate::model::spec) fn fault(&self) -> Option<String> {
        let counts = [
            ("the length of n-grams", self.n_gram, limits::MAX_NGRAM),
            ("the number of hashes of n-grams", self.hashes.len(), limits::MAX_NGRAM_HASHES),
            ("the length of a row of n-grams", self.row_len, limits::MAX_HEAD_DIM),
            ("the taps of the convolution of n-grams", self.n_taps, MAX_TAPS),
            ("the rows of the table of n-grams", self.n_rows(), limits::MAX_NGRAM_ROWS),
        ];
        let is_even = || self.n_gram > 1 && self.hashes.len().is_multiple_of(self.n_gram - 1);
        let is_known = || self.multipliers.len() == self.n_gram && self.hashes.iter().all(|&(_, n)| n > 0);
        first_count_fault(&counts)
            .or_else(|| self.norm.fault())
            .or_else(|| (!is_even() || !is_known()).then(|| "hashes of n-grams that do not fit them".into()))
    }
}
