//! The chunks of the layers that see equally far.
//!
//! A group has a fixed number of slots, and the chunk of place `i` - positions `i * CHUNK` on - stands in slot
//! `i` modulo their number. Without a window there is a slot for every place. With one there are as many as a
//! batch sees and writes together ([`GroupLayout::n_chunks`]): when place `i` is begun, no query sees the
//! place whose chunk stands in its slot, and the chunk becomes that of place `i`.
//!
//! A chunk that is shared is not written to. What takes its place comes from `spares`, which are filled
//! before a step so that the step itself cannot fail. `held` goes back in the text and copies groups.

mod held;

use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::CHUNK;

use super::chunk::Chunk;
use super::layout::{GroupLayout, KvOptions};
use crate::error::Result;
use crate::model::memory::reserved;
use crate::model::state::promises::Promise;

pub(super) use held::Held;

/// The chunks of a group of layers.
#[derive(Debug)]
pub(super) struct Group {
    layout: Arc<GroupLayout>,
    n_ctx: usize,
    slots: Vec<Slot>,
    /// Chunks of [`CHUNK`] positions that stand nowhere; none in a group that drops nothing.
    spares: Vec<Arc<Chunk>>,
}

#[derive(Debug)]
pub(super) struct Slot {
    /// The place that the chunk is of; `None` before it is of any.
    place: Option<usize>,
    chunk: Arc<Chunk>,
}

/// The chunks that the next positions lack.
#[derive(Clone, Copy, Debug, Default)]
struct Lack {
    /// Those that others share.
    n_now: usize,
    n_now_bytes: u64,
    /// Those whose slot still holds an earlier place, which is shared.
    n_later: usize,
}

impl Slot {
    /// Whether its chunk is not shared.
    fn is_own(&self) -> bool {
        Arc::strong_count(&self.chunk) == 1
    }

    /// Whether its chunk is that of another place, which queries may see until `place` is begun.
    fn is_of_another(&self, place: usize) -> bool {
        self.place.is_some_and(|own| own != place)
    }

    /// Its chunk, to be written to as that of `place`.
    ///
    /// # Panics
    /// If it is of another place or shared.
    pub(super) fn own(&mut self, place: usize) -> &mut Chunk {
        let chunk = (self.place == Some(place)).then(|| Arc::get_mut(&mut self.chunk)).flatten();
        chunk.expect("a chunk of its own, prepared before positions are written")
    }
}

impl Group {
    /// A group without positions; `promise` has the bytes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(layout: Arc<GroupLayout>, options: KvOptions, promise: &mut Promise) -> Result<Self> {
        let n_slots = layout.n_chunks(options);
        let mut group = Self::without_chunks(layout, options.n_ctx, n_slots)?;
        for slot in 0..n_slots {
            let chunk = group.new_chunk(slot, promise)?;
            group.slots.push(Slot { place: None, chunk });
        }
        Ok(group)
    }

    /// A group with room for `n_slots` slots.
    fn without_chunks(layout: Arc<GroupLayout>, n_ctx: usize, n_slots: usize) -> Result<Self> {
        Ok(Self { layout, n_ctx, slots: reserved(n_slots, 1)?, spares: Vec::new() })
    }

    fn new_chunk(&self, slot: usize, promise: &mut Promise) -> Result<Arc<Chunk>> {
        let promise = promise.split(self.chunk_bytes(slot));
        Ok(Arc::new(Chunk::new(Arc::clone(&self.layout), self.chunk_len(slot), promise)?))
    }

    /// Positions of the chunk in a slot: [`CHUNK`] in a group that drops some, where it is to be that of any
    /// place.
    fn chunk_len(&self, slot: usize) -> usize {
        CHUNK.min(self.n_ctx - slot * CHUNK)
    }

    fn chunk_bytes(&self, slot: usize) -> u64 {
        self.layout.position_bytes as u64 * self.chunk_len(slot) as u64
    }

    /// Whether it has a window and does not hold the whole context.
    pub(super) fn drops(&self) -> bool {
        self.slots.len() < self.n_ctx.div_ceil(CHUNK)
    }

    /// Bytes of its slots, those of chunks that are shared included.
    pub(super) fn slot_bytes(&self) -> u64 {
        (0..self.slots.len()).map(|slot| self.chunk_bytes(slot)).sum()
    }

    /// The chunks that belong to it or that it shares.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.slots.iter().map(|slot| &slot.chunk).chain(&self.spares)
    }

    fn slot(&self, place: usize) -> &Slot {
        &self.slots[place % self.slots.len()]
    }

    fn holds(&self, place: usize) -> bool {
        self.slot(place).place == Some(place)
    }

    /// The chunk of `place`.
    ///
    /// # Panics
    /// If it is not there: no query sees its positions any more, or they were never filled.
    pub(super) fn chunk(&self, place: usize) -> &Chunk {
        let slot = self.slot(place);
        if slot.place != Some(place) {
            let (start, window) = (place * CHUNK, self.layout.window);
            panic!("positions {start}.. of the layers with window {window:?} are not in the cache");
        }
        &slot.chunk
    }

    /// The slots from that of `place` on, in the order of the places.
    pub(super) fn slots_mut(&mut self, place: usize) -> impl Iterator<Item = (usize, &mut Slot)> {
        let n_slots = self.slots.len();
        let (before, from) = self.slots.split_at_mut(place % n_slots);
        (place..).zip(from.iter_mut().chain(before))
    }

    /// The chunk of `place`, to be written to.
    ///
    /// # Panics
    /// If it is not there or shared.
    pub(super) fn chunk_mut(&mut self, place: usize) -> &mut Chunk {
        let n_slots = self.slots.len();
        self.slots[place % n_slots].own(place)
    }

    /// What the next `n` positions lack after the first `n_past`.
    fn lack(&self, n_past: usize, n: usize) -> Lack {
        let mut lack = Lack::default();
        // A slot that comes again is its own by then.
        for place in places(n_past, n).take(self.slots.len()) {
            let (at, slot) = (place % self.slots.len(), self.slot(place));
            if slot.is_own() {
                continue;
            }
            if slot.is_of_another(place) {
                lack.n_later += 1;
            } else {
                lack.n_now += 1;
                lack.n_now_bytes += self.chunk_bytes(at);
            }
        }
        lack
    }

    /// Bytes that [`Group::prepare`] takes.
    pub(super) fn missing_bytes(&self, n_past: usize, n: usize) -> u64 {
        let lack = self.lack(n_past, n);
        if !self.drops() {
            return lack.n_now_bytes;
        }
        (lack.n_now + lack.n_later).saturating_sub(self.spares.len()) as u64 * self.chunk_bytes(0)
    }

    /// Sees to it that the next `n` positions can be written: that their chunks are not shared, or
    /// that there are spares for them. `promise` has the bytes that are missing.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory; no position changes.
    pub(super) fn prepare(&mut self, n_past: usize, n: usize, promise: &mut Promise) -> Result<()> {
        if self.drops() {
            let lack = self.lack(n_past, n);
            while self.spares.len() < lack.n_now + lack.n_later {
                self.spares.push(self.new_chunk(0, promise)?);
            }
        }
        for place in places(n_past, n).take(self.slots.len()) {
            let (at, slot) = (place % self.slots.len(), self.slot(place));
            if slot.is_own() || slot.is_of_another(place) {
                continue;
            }
            let mut chunk = match self.spares.pop() {
                Some(spare) => spare,
                None => self.new_chunk(at, promise)?,
            };
            // Only the first of these places has rows to keep.
            if self.holds(place) && place * CHUNK < n_past {
                let chunk = Arc::get_mut(&mut chunk).expect("it is new or a spare");
                chunk.copy_from(&self.slots[at].chunk, n_past - place * CHUNK);
            }
            self.slots[at].chunk = chunk;
        }
        Ok(())
    }

    /// Makes the chunks of the next `n` positions, which were prepared, those of their places. What the batch
    /// does not see of the positions before may be dropped.
    pub(super) fn begin(&mut self, n_past: usize, n: usize) {
        for place in places(n_past, n) {
            let at = place % self.slots.len();
            let slot = &mut self.slots[at];
            if slot.place == Some(place) {
                continue;
            }
            if !slot.is_own() {
                slot.chunk = self.spares.pop().expect("a spare, prepared before positions are written");
            }
            slot.place = Some(place);
        }
    }

    /// Counts positions `from..to` as filled.
    ///
    /// # Panics
    /// If their chunks are not there or shared.
    pub(super) fn note_filled(&mut self, from: usize, to: usize) {
        for place in places(from, to - from) {
            self.chunk_mut(place).note_filled(to - place * CHUNK);
        }
    }

    /// Makes the places of positions `start..n_past` those of its chunks, and no others; of more than there
    /// are slots, the last. Returns the first position that has a chunk.
    pub(super) fn assign(&mut self, start: usize, n_past: usize) -> usize {
        self.slots.iter_mut().for_each(|slot| slot.place = None);
        let end = n_past.div_ceil(CHUNK);
        let first = (start / CHUNK).max(end.saturating_sub(self.slots.len()));
        let n_slots = self.slots.len();
        (first..end).for_each(|place| self.slots[place % n_slots].place = Some(place));
        first * CHUNK
    }
}

/// The places of `n` positions after the first `n_past`.
fn places(n_past: usize, n: usize) -> Range<usize> {
    if n == 0 { 0..0 } else { n_past / CHUNK..(n_past + n).div_ceil(CHUNK) }
}
