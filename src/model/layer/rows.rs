//! The rows that a mixer is to compute.

use crate::model::batch::{Batch, BatchPart};
use crate::model::compute::Divide;
use crate::model::rope::Angles;
use crate::model::state::trail::LayerState;

/// The rows that a step computes: where they are, and what they have cached.
pub(in crate::model) struct Rows<'a, P> {
    /// The sequences.
    pub(in crate::model) parts: &'a mut [P],
    /// Which rows are whose.
    pub(in crate::model) batch: &'a Batch,
    /// The angles of their positions, for each rotary embedding of the model.
    pub(in crate::model) angles: &'a [Angles],
    /// The layer, whose caches are used.
    pub(in crate::model) layer: usize,
    /// What is computed for them.
    pub(in crate::model) does: Does,
    /// Where what the layer's mixer remembers begins in the layer's state.
    pub(in crate::model) mixer_state: usize,
}

/// Which part of a mixer to compute for the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Does {
    /// Their keys and values are stored.
    Store,
    /// Their queries attend to what is stored.
    Attend,
    /// Both, in this order.
    Both,
}

impl Does {
    /// How many of `n` rows need keys and values, and how many need queries.
    pub(in crate::model) fn rows(self, n: usize) -> (usize, usize) {
        match self {
            Self::Store => (n, 0),
            Self::Attend => (0, n),
            Self::Both => (n, n),
        }
    }
}

/// The rows of one sequence in a batch, and what a layer remembers of the text before them.
pub(in crate::model) struct Span<'a> {
    /// The first.
    pub(in crate::model) first: usize,
    /// How many they are, at least one.
    pub(in crate::model) n: usize,
    /// What the layer's recurrent parts remember.
    pub(in crate::model) state: LayerState<'a>,
}

impl<P: BatchPart> Rows<'_, P> {
    /// The sequences that have rows, in the order of the rows.
    pub(in crate::model) fn spans(&mut self) -> impl Iterator<Item = Span<'_>> {
        self.spans_from(self.mixer_state)
    }

    /// As [`Rows::spans`], with the layer's states from the float `start` on.
    pub(in crate::model) fn spans_from(&mut self, start: usize) -> impl Iterator<Item = Span<'_>> {
        let layer = self.layer;
        let of_parts = self.batch.runs_of(self.parts).filter(|(_, runs)| !runs.is_empty());
        of_parts.map(move |(part, runs)| Span {
            first: runs[0].first_row,
            n: runs.iter().map(|run| run.n).sum(),
            state: part.cache_mut().state_mut(layer).split_at(start).1,
        })
    }
}

/// How many rows each sequence has that has some.
pub(in crate::model) fn span_lens(batch: &Batch) -> impl Iterator<Item = usize> {
    batch.runs.chunk_by(|a, b| a.part == b.part).map(|runs| runs.iter().map(|run| run.n).sum())
}

/// What a layer remembers, divided between its parts.
impl Divide for LayerState<'_> {
    fn n_rows(&self) -> usize {
        self.values.len()
    }

    fn divide(self, row: usize) -> (Self, Self) {
        self.split_at(row)
    }
}
