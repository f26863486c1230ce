//! The states after the last few positions of a sequence, which recurrent mixers leave behind as they walk, so that
//! guessed tokens can be taken back without evaluating anything again.
//!
//! A mixer goes through the positions of a step one after the other while it leaves a trail, and copies what it
//! remembers behind each; what the step ends with is in the state itself. Outputs have the same bits: they do not
//! depend on how a text is cut. Each position costs the bytes of a state in memory traffic.

use std::ops::Range;

use gguf_simd::ColumnsMut;

use super::promises::Promise;
use crate::error::Result;
use crate::model::memory::reserved;

/// Bytes that trails take, unless [`LEAST_ROWS`] states take more.
const MAX_BYTES: u64 = 256 << 20;

/// States that a trail has room for however large they are.
const LEAST_ROWS: u64 = 2;

/// States that a trail for `most` positions has room for, of `n_bytes` each.
pub(super) fn n_rows(n_bytes: u64, most: usize) -> usize {
    let room = (MAX_BYTES / n_bytes.max(1)).max(LEAST_ROWS);
    most.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// The states after some consecutive positions.
#[derive(Debug)]
pub(super) struct Trail {
    /// `[n_rows, n]`, empty before the first is written: the state after `n_past` positions is in row `n_past % n_rows`.
    values: Vec<f32>,
    n_rows: usize,
    /// Floats of a state.
    n: usize,
    /// For which numbers of positions there is a state. It ends where the sequence does, whose state is its own.
    held: Range<usize>,
    /// Positions before the last step, if that left states behind.
    start: Option<usize>,
    promise: Promise,
}

/// What a layer remembers, and where it leaves that behind after each position of a step.
pub(in crate::model) struct LayerState<'a> {
    /// What it remembers.
    pub(in crate::model) values: &'a mut [f32],
    trail: Option<LayerTrail<'a>>,
}

/// The part of a trail that belongs to a layer, or to a part of it.
struct LayerTrail<'a> {
    /// `[n_rows, n]`: the rows are the columns of this view.
    rows: ColumnsMut<'a>,
    /// The row that the state after the first position goes to.
    next: usize,
}

impl Trail {
    /// Room for `n_rows` states of `n` floats, for which `promise` has the bytes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(n_rows: usize, n: usize, promise: Promise) -> Result<Self> {
        Ok(Self { values: reserved(n_rows, n)?, n_rows, n, held: 0..0, start: None, promise })
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Begins a step of `n` positions after `n_past`, which leaves states behind. They continue those there are, if the
    /// text was not gone back from or on without: `state` is then kept as well.
    pub(super) fn begin(&mut self, n_past: usize, n: usize, state: &[f32]) {
        if self.values.is_empty() {
            self.values.resize(self.n_rows * self.n, 0.0);
            self.promise.keep();
        }
        if self.start.is_some() && self.held.end == n_past {
            self.row(n_past).copy_from_slice(state);
        } else {
            self.held = n_past + 1..n_past + 1;
        }
        self.held.end = n_past + n;
        self.held.start = self.held.start.max(self.held.end.saturating_sub(self.n_rows));
        self.start = Some(n_past);
    }

    /// The state after `n_past` positions.
    fn row(&mut self, n_past: usize) -> &mut [f32] {
        &mut self.values[n_past % self.n_rows * self.n..][..self.n]
    }

    /// Forgets all states: the step under way leaves none, or the text goes on from elsewhere.
    pub(super) fn clear(&mut self) {
        self.held = 0..0;
        self.start = None;
    }

    /// Whether it has the state after `n_past` positions.
    pub(super) fn has(&self, n_past: usize) -> bool {
        self.held.contains(&n_past)
    }

    /// Brings the state after `n_past` positions, which it has, into `state`, and forgets those after it.
    pub(super) fn restore(&mut self, n_past: usize, state: &mut [f32]) {
        state.copy_from_slice(self.row(n_past));
        self.held.end = n_past;
    }

    /// What the step under way leaves of a layer's floats; `None` if it leaves nothing.
    fn of_layer(&mut self, floats: Range<usize>) -> Option<LayerTrail<'_>> {
        let next = (self.start? + 1) % self.n_rows;
        let (_, rows) = ColumnsMut::new(&mut self.values, self.n, self.n_rows).split_at_row(floats.start);
        let (rows, _) = rows.split_at_row(floats.len());
        Some(LayerTrail { rows, next })
    }
}

impl<'a> LayerState<'a> {
    /// What is remembered in `values`; no trail is left.
    pub(in crate::model) fn of(values: &'a mut [f32]) -> Self {
        Self { values, trail: None }
    }

    /// Those of `state`, of all layers, that `floats` names.
    pub(super) fn new(state: &'a mut [f32], trail: Option<&'a mut Trail>, floats: Range<usize>) -> Self {
        let trail = trail.and_then(|trail| trail.of_layer(floats.clone()));
        Self { trail, ..Self::of(&mut state[floats]) }
    }

    /// The first `n` floats, and the others.
    pub(in crate::model) fn split_at(self, n: usize) -> (Self, Self) {
        let (before, after) = self.values.split_at_mut(n);
        let (trail_before, trail_after) = match self.trail {
            None => (None, None),
            Some(LayerTrail { rows, next }) => {
                let (before, after) = rows.split_at_row(n);
                (Some(LayerTrail { rows: before, next }), Some(LayerTrail { rows: after, next }))
            }
        };
        (Self { values: before, trail: trail_before }, Self { values: after, trail: trail_after })
    }

    /// Calls `step` for the positions `0..n`, whose states follow from what it is given: for all of them together, or one
    /// after the other to leave the states behind.
    pub(in crate::model) fn walk(mut self, n: usize, mut step: impl FnMut(Range<usize>, &mut [f32])) {
        let Some(LayerTrail { rows, next }) = &mut self.trail else { return step(0..n, self.values) };
        for i in 0..n {
            step(i..i + 1, self.values);
            if i + 1 < n {
                rows.column((*next + i) % rows.n_cols()).copy_from_slice(self.values);
            }
        }
    }
}
