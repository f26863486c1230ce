//! The rows of a step: runs of tokens, each of one sequence.

use gguf_simd::attention::CHUNK;

use super::memory::Buffers;
use super::state::kv::{KvCache, KvTypes};
use crate::error::Result;

/// The greatest batch that buffers are made for.
#[derive(Clone, Copy, Debug)]
pub struct Dimensions {
    /// Tokens of a batch, of all sequences together.
    pub n_batch: usize,
    /// Positions of the longest sequence.
    pub n_ctx: usize,
    /// The types of keys and values.
    pub kv_types: KvTypes,
    /// Threads.
    pub n_threads: usize,
}

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

    /// The position where the second text of a pair begins, for models that tell the two apart.
    fn border(&self) -> usize {
        usize::MAX
    }
}

/// Consecutive tokens of one sequence, in consecutive rows of a batch, whose positions lie in one chunk of
/// the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The number of the part that the sequence belongs to.
    pub(super) part: usize,
    /// The row of the first token.
    pub(super) first_row: usize,
    /// Tokens, at least one.
    pub(super) n: usize,
    /// The position of the first token.
    pub(super) position: usize,
}

/// A token of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) position: usize,
    /// Whether it is of the second text of a pair.
    pub(super) is_second: bool,
}

/// The rows of a batch: those of the first part, those of the second, and so on.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order of the parts; one for each chunk that a part has tokens in.
    pub(super) runs: Vec<Run>,
    /// `[n]`: the token of each row.
    pub(super) tokens: Vec<Token>,
}

impl Batch {
    /// Room for `n_batch` rows.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn reserved(buffers: &mut Buffers, n_batch: usize) -> Result<Self> {
        Ok(Self { runs: buffers.reserved(n_batch, 1)?, tokens: buffers.reserved(n_batch, 1)? })
    }

    /// Rows.
    pub(super) fn n(&self) -> usize {
        self.tokens.len()
    }

    /// Takes the rows of `parts`. Allocates only for more rows than there is room for.
    pub(super) fn fill<P: BatchPart>(&mut self, parts: &[P]) {
        self.runs.clear();
        self.tokens.clear();
        for (number, part) in parts.iter().enumerate() {
            let mut position = part.cache().n_past();
            let mut ids = part.ids();
            let border = part.border();
            while !ids.is_empty() {
                let n = ids.len().min(CHUNK - position % CHUNK);
                let (now, later) = ids.split_at(n);
                self.runs.push(Run { part: number, first_row: self.tokens.len(), n, position });
                let tokens = now.iter().zip(position..);
                let token = |(&id, position)| Token { id, position, is_second: position >= border };
                self.tokens.extend(tokens.map(token));
                (position, ids) = (position + n, later);
            }
        }
    }

    /// The parts that were taken, each with its runs; a part without tokens has none.
    pub(super) fn runs_of<'a, P>(
        &'a self,
        parts: &'a mut [P],
    ) -> impl Iterator<Item = (&'a mut P, &'a [Run])> {
        let mut runs = &*self.runs;
        parts.iter_mut().enumerate().map(move |(number, part)| {
            let of_part;
            (of_part, runs) = runs.split_at(runs.partition_point(|run| run.part <= number));
            (part, of_part)
        })
    }

    /// Drops the rows whose logits are not wanted. Calls `move_row` with the old and the new number of
    /// each row that is kept, in ascending order; the new one is never the greater.
    pub(super) fn keep_wanted<P: BatchPart>(&mut self, parts: &[P], mut move_row: impl FnMut(usize, usize)) {
        let mut n = 0;
        for run in &mut self.runs {
            let part = &parts[run.part];
            let first_wanted = part.cache().n_past() + part.ids().len() - part.n_wanted();
            let n_dropped = first_wanted.saturating_sub(run.position).min(run.n);
            let kept = run.first_row + n_dropped..run.first_row + run.n;
            *run = Run { first_row: n, n: kept.len(), position: run.position + n_dropped, ..*run };
            for row in kept {
                move_row(row, n);
                self.tokens[n] = self.tokens[row];
                n += 1;
            }
        }
        self.runs.retain(|run| run.n > 0);
        self.tokens.truncate(n);
    }
}
