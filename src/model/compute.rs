//! What a step computes with: the kernels and the pool, and how work is cut into parts.
//!
//! How work is cut never changes a result: every float is computed whole by one thread, in an order
//! that is its own.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use gguf_simd::{ColumnsMut, Kernels};

use super::profile::{Phase, Profile};
use crate::limits::MAX_THREADS;
use crate::threads::ThreadPool;

/// Parts of a region at most; they live on the stack.
pub(super) const MAX_PARTS: usize = 128;

/// Parts for each thread: enough for a late thread to lose some to the others.
const PARTS_PER_THREAD: usize = 4;

/// Multiply-adds (or as long-lasting operations) that are worth handing to another thread: about a
/// microsecond.
pub(super) const MIN_PART_WORK: usize = 1 << 15;

/// The kernels and threads of a step, and its observer.
#[derive(Clone, Copy, Debug)]
pub struct Compute<'a> {
    /// The functions of one tier of CPU features.
    pub kernels: &'static Kernels,
    /// The threads.
    pub pool: &'a ThreadPool,
    /// Those of them that take part.
    pub n_threads: usize,
    /// Told how far a pass has come.
    pub observer: &'a dyn Observer,
    /// Sees the inputs of products, if somebody wants to.
    pub inputs: Option<&'a dyn InputObserver>,
    /// Accumulates time per phase, if profiling.
    pub profile: Option<&'a Profile>,
    /// Ends a pass between two layers once it is true.
    pub stop: Option<&'a AtomicBool>,
}

/// Is told how far a pass through a model has come, between its parallel regions. It may take its time
/// and changes no result.
pub trait Observer: fmt::Debug + Sync {
    /// The pass is about to read the weights of `stage`, an index into [`super::Reads::stages`], and is
    /// done with those before. A pass may end early; the next one begins with stage 0 again.
    fn before(&self, stage: usize);

    /// The pass will soon read these bytes of the file as well: those of an expert that was chosen.
    fn soon(&self, bytes: Range<usize>);
}

/// Sees what products compute with: the seam of importance matrices and of whatever else is learned from
/// activations. It is called between parallel regions, in an order that does not depend on threads.
pub trait InputObserver: fmt::Debug + Sync {
    /// The rows at bytes `weights` of the file are multiplied with each row of `inputs: [.., n_in]`. For a stack of
    /// experts these are the rows of one expert, and the inputs of the tokens that chose it.
    fn see(&self, weights: Range<usize>, inputs: &[f32], n_in: usize);

    /// Whether it has seen all that it is there for. Products are then not computed any more, those that it was shown
    /// last included: their outputs are whatever was in their place.
    fn is_done(&self) -> bool {
        false
    }
}

/// Observes nothing.
impl Observer for () {
    fn before(&self, _stage: usize) {}

    fn soon(&self, _bytes: Range<usize>) {}
}

impl<'a> Compute<'a> {
    /// With all threads of `pool`, told to `observer`, without an observer of inputs, a profile and a stop.
    pub fn new(kernels: &'static Kernels, pool: &'a ThreadPool, observer: &'a dyn Observer) -> Self {
        Self { kernels, pool, n_threads: pool.n_threads(), observer, inputs: None, profile: None, stop: None }
    }

    /// The same, with the threads that so many tokens at once are computed with.
    pub(super) fn for_tokens(self, n_tokens: usize) -> Self {
        Self { n_threads: self.pool.counts().of_tokens(n_tokens), ..self }
    }

    /// Whether the pass is to end before its next layer.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Notes that another phase begins.
    pub fn enter(&self, phase: Phase) {
        if let Some(profile) = self.profile {
            profile.enter(phase, self.pool);
        }
    }

    /// Tells the observer that the weights of `stage` come next.
    pub(super) fn before(&self, stage: usize) {
        self.enter(Phase::Wait);
        self.observer.before(stage);
        self.enter(Phase::Rest);
    }

    /// How many parts `work` multiply-adds should be cut into.
    pub(super) fn n_parts(&self, work: usize) -> usize {
        if self.n_threads == 1 {
            return 1;
        }
        (work / MIN_PART_WORK).clamp(1, (self.n_threads * PARTS_PER_THREAD).min(MAX_PARTS))
    }

    /// Rows of each piece, if `n_rows` rows of `row_work` multiply-adds each are cut into pieces.
    pub(super) fn piece_len(&self, n_rows: usize, row_work: usize) -> usize {
        n_rows.div_ceil(self.n_parts(n_rows.saturating_mul(row_work))).max(1)
    }

    /// Calls `f` for every part, in parallel if `work` multiply-adds are worth it.
    pub(super) fn for_each<P: Send>(
        &self,
        work: usize,
        parts: impl Iterator<Item = P>,
        f: impl Fn(P) + Sync,
    ) {
        let mut nothing = [(); MAX_THREADS];
        self.for_each_with(work, &mut nothing, parts, |(), part| f(part));
    }

    /// As [`Compute::for_each`], with one of the `scratch` values for each thread.
    pub(super) fn for_each_with<S: Send, P: Send>(
        &self,
        work: usize,
        scratch: &mut [S],
        mut parts: impl Iterator<Item = P>,
        f: impl Fn(&mut S, P) + Sync,
    ) {
        if self.n_parts(work) == 1 {
            return parts.for_each(|part| f(&mut scratch[0], part));
        }
        let mut list = [const { None }; MAX_PARTS];
        loop {
            let mut len = 0;
            for (slot, part) in list.iter_mut().zip(&mut parts) {
                *slot = Some(part);
                len += 1;
            }
            self.pool.run_parts_among(self.n_threads, scratch, &mut list[..len], |scratch, _, part| {
                if let Some(part) = part.take() {
                    f(scratch, part);
                }
            });
            if len < MAX_PARTS {
                return;
            }
        }
    }
}

/// Something made of rows that can be divided between threads.
pub(super) trait Divide: Sized {
    /// Its rows.
    fn n_rows(&self) -> usize;

    /// Rows `0..row` and rows `row..`.
    fn divide(self, row: usize) -> (Self, Self);
}

/// The pieces of `whole`, of `piece_len` rows each; the last may be shorter.
pub(super) fn pieces<D: Divide>(whole: D, piece_len: usize) -> impl Iterator<Item = D> {
    let mut rest = Some(whole);
    core::iter::from_fn(move || {
        let whole = rest.take().filter(|whole| whole.n_rows() > 0)?;
        let row = piece_len.min(whole.n_rows());
        let (piece, tail) = whole.divide(row);
        rest = Some(tail);
        Some(piece)
    })
}

/// `n` pieces of `whole` of equally many rows, which may be none at all; `n` divides its rows.
pub(super) fn equal_pieces<D: Divide>(whole: D, n: usize) -> impl Iterator<Item = D> {
    let piece_len = whole.n_rows() / n;
    pieces_of(whole, core::iter::repeat_n(piece_len, n))
}

/// The pieces of `whole` of these lengths, which together are at most its rows.
pub(super) fn pieces_of<D: Divide>(whole: D, lens: impl Iterator<Item = usize>) -> impl Iterator<Item = D> {
    let mut rest = Some(whole);
    lens.map_while(move |len| {
        let (piece, tail) = rest.take()?.divide(len);
        rest = Some(tail);
        Some(piece)
    })
}

/// Some of the rows of every column, divided between heads.
impl Divide for ColumnsMut<'_> {
    fn n_rows(&self) -> usize {
        ColumnsMut::n_rows(self)
    }

    fn divide(self, row: usize) -> (Self, Self) {
        self.split_at_row(row)
    }
}

/// Columns, one for each token, divided between tokens.
pub(super) struct ByToken<'a>(pub(super) ColumnsMut<'a>);

impl Divide for ByToken<'_> {
    fn n_rows(&self) -> usize {
        self.0.n_cols()
    }

    fn divide(self, row: usize) -> (Self, Self) {
        let (before, after) = self.0.split_at_column(row);
        (Self(before), Self(after))
    }
}

/// Rows of `width` values.
pub(super) struct RowsMut<'a, T> {
    pub(super) values: &'a mut [T],
    pub(super) width: usize,
}

impl<T> Divide for RowsMut<'_, T> {
    fn n_rows(&self) -> usize {
        self.values.len() / self.width
    }

    fn divide(self, row: usize) -> (Self, Self) {
        let (before, after) = self.values.split_at_mut(row * self.width);
        (Self { values: before, width: self.width }, Self { values: after, width: self.width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::ThreadCounts;

    #[test]
    fn every_part_is_computed_once_even_beyond_the_list() {
        for n_threads in [1, 3] {
            let pool = ThreadPool::new(n_threads).unwrap();
            let compute = Compute::new(Kernels::best(), &pool, &());
            for n in [0, 1, MAX_PARTS - 1, MAX_PARTS, 3 * MAX_PARTS + 5] {
                let mut values = vec![0; n];
                compute.for_each(usize::MAX, values.iter_mut(), |value| *value += 1);
                assert_eq!(values, vec![1; n], "{n_threads} threads");
            }
        }
    }

    #[test]
    fn pieces_cover_the_whole_in_order() {
        let mut values: Vec<usize> = (0..14).collect();
        let whole = RowsMut { values: &mut values, width: 2 };
        let lens: Vec<_> = pieces(whole, 3).map(|piece| (piece.values[0], piece.n_rows())).collect();
        assert_eq!(lens, [(0, 3), (6, 3), (12, 1)]);
    }

    #[test]
    fn equal_pieces_may_be_empty() {
        for (n_rows, expected) in [(6, [2, 2, 2]), (0, [0, 0, 0])] {
            let mut values = vec![0; 2 * n_rows];
            let whole = RowsMut { values: &mut values, width: 2 };
            let lens: Vec<_> = equal_pieces(whole, 3).map(|piece| piece.n_rows()).collect();
            assert_eq!(lens, expected);
        }
    }

    #[test]
    fn pieces_of_given_lengths_may_be_empty() {
        let mut values: Vec<usize> = (0..10).collect();
        let whole = RowsMut { values: &mut values, width: 2 };
        let firsts: Vec<_> =
            pieces_of(whole, [2, 0, 1].into_iter()).map(|rows| rows.values.to_vec()).collect();
        assert_eq!(firsts, [vec![0, 1, 2, 3], vec![], vec![4, 5]]);
    }

    #[test]
    fn many_tokens_are_computed_with_all_threads_and_few_with_the_fast_ones() {
        let pool = ThreadPool::with_counts(ThreadCounts { few: 1, many: 3 }).unwrap();
        let compute = Compute::new(Kernels::best(), &pool, &());
        for (n_tokens, n_threads) in [(1, 1), (8, 1), (9, 3), (512, 3)] {
            assert_eq!(compute.for_tokens(n_tokens).n_threads, n_threads, "{n_tokens} tokens");
        }
        assert_eq!(compute.for_tokens(1).n_parts(usize::MAX), 1);
    }

    #[test]
    fn little_work_stays_on_one_thread() {
        let pool = ThreadPool::new(2).unwrap();
        let compute = Compute::new(Kernels::best(), &pool, &());
        assert_eq!(compute.n_parts(100), 1);
        assert_eq!(compute.n_parts(usize::MAX), 2 * PARTS_PER_THREAD);
        assert_eq!(compute.piece_len(1, usize::MAX), 1);
    }
}
