//! What a group holds of the text before, to go back to it or to go on from it elsewhere.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::CHUNK;

use super::{Group, Slot};
use crate::error::Result;
use crate::model::state::kv::chunk::Chunk;
use crate::model::state::promises::Promise;

/// Positions before the window that are remembered with it where they are there: a text that is gone back to
/// often differs in a few tokens before that point.
const MARGIN: usize = 32;

/// The chunks of consecutive places.
#[derive(Clone, Debug)]
pub(in crate::model::state::kv) struct Held {
    first: usize,
    chunks: Vec<Arc<Chunk>>,
}

impl Held {
    pub(in crate::model::state::kv) fn places(&self) -> impl Iterator<Item = (usize, &Arc<Chunk>)> {
        (self.first..).zip(&self.chunks)
    }

    fn chunk(&self, place: usize) -> Option<&Arc<Chunk>> {
        self.chunks.get(place.checked_sub(self.first)?)
    }

    /// Takes the chunks out that hold none of the first `n_past` positions.
    pub(in crate::model::state::kv) fn cut(&mut self, n_past: usize) -> impl Iterator<Item = Arc<Chunk>> {
        let n_kept = n_past.div_ceil(CHUNK).saturating_sub(self.first);
        self.chunks.drain(n_kept.min(self.chunks.len())..)
    }
}

impl Group {
    /// Whether all is there that queries from position `n_past` on see of the positions before.
    pub(in crate::model::state::kv) fn reaches(&self, n_past: usize) -> bool {
        (self.layout.first_seen(n_past) / CHUNK..n_past.div_ceil(CHUNK)).all(|place| self.holds(place))
    }

    /// As [`Group::reaches`], with what `held` has of at least `n_past` positions.
    pub(in crate::model::state::kv) fn reaches_with(&self, held: &Held, n_past: usize) -> bool {
        held.first <= self.layout.first_seen(n_past) / CHUNK
    }

    /// What it takes to go on at `n_past`, and what is there before that as far as the margin.
    ///
    /// # Panics
    /// If it does not reach as far.
    pub(in crate::model::state::kv) fn held(&self, n_past: usize) -> Held {
        let places = self.span(n_past);
        let chunk = |place| {
            assert!(self.holds(place), "place {place} was dropped, and {n_past} positions were to be held");
            Arc::clone(&self.slot(place).chunk)
        };
        Held { first: places.start, chunks: places.map(chunk).collect() }
    }

    /// The places of [`Group::held`].
    pub(in crate::model::state::kv) fn span(&self, n_past: usize) -> Range<usize> {
        let seen = self.layout.first_seen(n_past);
        let least = if self.drops() { seen.saturating_sub(MARGIN) / CHUNK } else { 0 };
        let mut first = seen / CHUNK;
        while first > least && self.holds(first - 1) {
            first -= 1;
        }
        first..n_past.div_ceil(CHUNK)
    }

    /// Puts the chunks of the first `n_past` positions in `held` in their slots.
    pub(in crate::model::state::kv) fn restore(&mut self, n_past: usize, held: &Held) {
        for (place, chunk) in held.places().take_while(|(place, _)| place * CHUNK < n_past) {
            let at = place % self.slots.len();
            let restored = Slot { place: Some(place), chunk: Arc::clone(chunk) };
            let before = mem::replace(&mut self.slots[at], restored);
            self.give_back(before.chunk);
        }
    }

    /// Keeps a chunk that left its place as a spare, unless it is shared.
    pub(in crate::model::state::kv) fn give_back(&mut self, chunk: Arc<Chunk>) {
        if Arc::strong_count(&chunk) == 1 {
            self.spares.push(chunk);
        }
    }

    /// Bytes that [`Group::fork`] takes.
    pub(in crate::model::state::kv) fn fork_bytes(&self, n_past: usize, held: &Held) -> u64 {
        if self.drops() {
            return self.slot_bytes();
        }
        let shared = held.places().filter(|(place, _)| is_whole(*place, n_past));
        self.slot_bytes() - shared.map(|(place, _)| self.chunk_bytes(place)).sum::<u64>()
    }

    /// A group with the same room that goes on at `n_past` with what `held` has. It shares the whole chunks.
    /// Where it drops positions, it has a spare for each of them: it cannot use it again itself.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model::state::kv) fn fork(
        &self,
        n_past: usize,
        held: &Held,
        promise: &mut Promise,
    ) -> Result<Self> {
        let n_slots = self.slots.len();
        let mut fork = Self::without_chunks(Arc::clone(&self.layout), self.n_ctx, n_slots)?;
        for at in 0..n_slots {
            let place = held.first + (at + n_slots - held.first % n_slots) % n_slots;
            let shared = held.chunk(place).filter(|_| place * CHUNK < n_past);
            let chunk = match shared {
                Some(shared) if is_whole(place, n_past) => {
                    if self.drops() {
                        fork.spares.push(fork.new_chunk(at, promise)?);
                    }
                    Arc::clone(shared)
                }
                _ => fork.new_chunk(at, promise)?,
            };
            let mut slot = Slot { place: shared.map(|_| place), chunk };
            if let Some((chunk, shared)) = Arc::get_mut(&mut slot.chunk).zip(shared) {
                chunk.copy_from(shared, n_past - place * CHUNK);
            }
            fork.slots.push(slot);
        }
        Ok(fork)
    }
}

/// Whether all positions of `place` are among the first `n_past`.
fn is_whole(place: usize, n_past: usize) -> bool {
    (place + 1) * CHUNK <= n_past
}
