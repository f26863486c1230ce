//! The rows of a step: runs of tokens, each of one sequence.

use super::KvCache;
use super::memory::reserved;
use crate::error::Result;

/// What a batch takes of one sequence: some ids at the positions that follow those in its cache.
pub trait BatchPart: Sync {
    /// The keys and values of the positions before.
    fn cache(&self) -> &KvCache;

    /// The same, to be appended to.
    fn cache_mut(&mut self) -> &mut KvCache;

    /// The ids to evaluate; there may be none.
    fn ids(&self) -> &[u32];

    /// How many of the last ids logits are wanted for.
    fn n_wanted(&self) -> usize;
}

/// Consecutive tokens of one sequence, in consecutive rows of a batch. There may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The row of the first token.
    pub(super) first_row: usize,
    /// Tokens.
    pub(super) n: usize,
    /// The position of the first token.
    pub(super) position: usize,
}

/// A token of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) position: usize,
}

/// The rows of a batch: those of the first part, those of the second, and so on.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// One for each part, in their order.
    pub(super) runs: Vec<Run>,
    /// `[n]`: the token of each row.
    pub(super) tokens: Vec<Token>,
}

impl Batch {
    /// Room for `n_batch` rows.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn reserved(n_batch: usize) -> Result<Self> {
        Ok(Self { runs: reserved(n_batch, 1)?, tokens: reserved(n_batch, 1)? })
    }

    /// Rows.
    pub(super) fn n(&self) -> usize {
        self.tokens.len()
    }

    /// Takes the rows of `parts`. Allocates only for more parts or rows than there is room for.
    pub(super) fn fill<P: BatchPart>(&mut self, parts: &[P]) {
        self.runs.clear();
        self.tokens.clear();
        for part in parts {
            let (first_row, position) = (self.tokens.len(), part.cache().n_past());
            self.runs.push(Run { first_row, n: part.ids().len(), position });
            let tokens = part.ids().iter().zip(position..);
            self.tokens.extend(tokens.map(|(&id, position)| Token { id, position }));
        }
    }

    /// Drops the rows whose logits are not wanted. Calls `move_row` with the old and the new number of
    /// each row that is kept, in ascending order; the new one is never the greater.
    pub(super) fn keep_wanted<P: BatchPart>(&mut self, parts: &[P], mut move_row: impl FnMut(usize, usize)) {
        let mut n = 0;
        for (run, part) in self.runs.iter_mut().zip(parts) {
            let n_dropped = run.n - part.n_wanted();
            let kept = run.first_row + n_dropped..run.first_row + run.n;
            *run = Run { first_row: n, n: kept.len(), position: run.position + n_dropped };
            for row in kept {
                move_row(row, n);
                self.tokens[n] = self.tokens[row];
                n += 1;
            }
        }
        self.tokens.truncate(n);
    }
}
