//! The cache of a sequence: what attention remembers of every position, and what recurrent mixers do of all.
//!
//! A cache is rows of chunks, each with the keys and values of some positions. Layers with the same window
//! share a row, as do those without one ([`group`]): a layer with a window holds no more than that and what a
//! batch adds. Memory for everything is reserved at once but touched only as positions are filled. What a
//! cache has in common with others, it shares in whole read-only chunks: a fork copies less than a chunk. A
//! cache that comes to a shared chunk gets one of its own first. [`rewind`] goes back in the text. States of
//! recurrent mixers ([`Recurrent`]) are shared and copied likewise.

mod chunk;
mod group;
mod layout;
mod rewind;
mod transfer;

use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::CHUNK;

use super::promises::Promise;
use super::recurrent::{Recurrent, state_bytes};
use super::trail::LayerState;
use crate::error::Result;
use crate::model::spec::kv::KvSpec;
use chunk::Chunk;
pub(in crate::model) use chunk::HeadMut;
use group::Group;
use layout::{LayerRows, Layout};
use rewind::Checkpoint;

pub(in crate::model) use layout::KvRows;
pub use layout::{KvOptions, KvTypes};

/// The keys and values of every layer and key-value head, and the states of recurrent mixers.
#[derive(Debug)]
pub struct KvCache {
    layout: Arc<Layout>,
    options: KvOptions,
    n_past: usize,
    /// As the layout has them.
    groups: Vec<Group>,
    recurrent: Recurrent,
    /// In ascending order of their positions, of which none is behind `n_past`.
    checkpoints: Vec<Checkpoint>,
}

/// The keys and values of one head of one layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct KvHead<'a> {
    group: &'a Group,
    layer: &'a LayerRows,
    head: usize,
}

impl KvCache {
    /// Bytes that a cache takes, [`u64::MAX`] if they cannot be counted: what it reserves when it is made.
    /// Checkpoints and what is shared come on top.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if the model's heads do not divide into the blocks of a type.
    pub fn n_bytes(spec: &KvSpec, options: KvOptions) -> Result<u64> {
        Ok(Layout::new(spec, options.types)?.n_bytes(options).saturating_add(state_bytes(&spec.states)))
    }

    /// An empty cache, for which `promise` has the bytes.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if the model's heads do not divide into the blocks of a type,
    /// [`crate::Error::Limit`] if the system refuses the memory.
    ///
    /// # Panics
    /// If more than [`KvCache::n_bytes`] were promised, or less.
    pub fn new(spec: &KvSpec, options: KvOptions, mut promise: Promise) -> Result<Self> {
        let layout = Layout::new(spec, options.types)?;
        let groups = layout.groups.iter().map(|group| Group::new(Arc::clone(group), options, &mut promise));
        let groups = groups.collect::<Result<_>>()?;
        let recurrent = Recurrent::new(&spec.states, &mut promise)?;
        assert_eq!(promise.n_bytes(), 0, "promised and not needed");
        let layout = Arc::new(layout);
        Ok(Self { layout, options, n_past: 0, groups, recurrent, checkpoints: Vec::new() })
    }

    /// A cache of one layer with one head, to be filled in one batch.
    #[cfg(test)]
    pub(in crate::model) fn of_one_head(rows: KvRows, n_ctx: usize) -> Self {
        let (keys, values) = (rows.keys, rows.holding_values());
        let types = KvTypes { keys: keys.cache_type(), values: values.cache_type() };
        let (head_dim_k, head_dim_v) = (keys.head_dim(), rows.values.map_or(0, |rows| rows.head_dim()));
        let layer = crate::model::KvLayer { n_head_kv: 1, head_dim_k, head_dim_v, window: None };
        let spec = KvSpec::without_states(vec![Some(layer)]);
        let options = KvOptions { n_ctx, n_batch: n_ctx, types };
        let n_bytes = Self::n_bytes(&spec, options).expect("rows that there are");
        let promise = crate::model::Promises::default().take(n_bytes).expect("few bytes");
        let mut cache = Self::new(&spec, options, promise).expect("memory");
        cache.begin(n_ctx);
        cache
    }

    /// Positions there is room for.
    pub fn n_ctx(&self) -> usize {
        self.options.n_ctx
    }

    /// Positions that can be appended together.
    pub fn n_batch(&self) -> usize {
        self.options.n_batch
    }

    /// Positions that are filled.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// The types of its keys and values.
    pub fn types(&self) -> KvTypes {
        self.options.types
    }

    /// Bytes of the chunks that it holds at most and of its states, those it shares included, without checkpoints.
    pub fn reserved_bytes(&self) -> u64 {
        self.groups.iter().map(Group::slot_bytes).sum::<u64>() + self.recurrent.n_bytes()
    }

    /// Bytes of the chunks that it has reserved and not filled.
    pub fn unfilled_bytes(&self) -> u64 {
        let chunks = self.groups.iter().flat_map(Group::chunks).filter(|chunk| !chunk.is_filled());
        chunks.map(|chunk| chunk.n_bytes()).sum()
    }

    /// Bytes that [`KvCache::prepare`] takes for `n` more positions: none unless something is shared.
    pub fn missing_bytes(&self, n: usize) -> u64 {
        let of_groups = self.groups.iter().map(|group| group.missing_bytes(self.n_past, n)).sum::<u64>();
        of_groups + if n > 0 { self.recurrent.missing_bytes() } else { 0 }
    }

    /// Sees to it that the next `n` positions, for which there is room, have memory that is not shared, also
    /// if they are appended in several batches; `promise` has the bytes that [`KvCache::missing_bytes`] named.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory; no position changes.
    pub fn prepare(&mut self, n: usize, mut promise: Promise) -> Result<()> {
        self.groups.iter_mut().try_for_each(|group| group.prepare(self.n_past, n, &mut promise))?;
        if n > 0 { self.recurrent.prepare(&mut promise) } else { Ok(()) }
    }

    /// Bytes that [`KvCache::fork`] takes: those of states and of all chunks but the whole ones that are shared for
    /// good.
    pub fn fork_bytes(&self, n: usize) -> u64 {
        let way = self.way_back(n);
        let groups = self.groups.iter().zip(self.held(way));
        groups.map(|(group, held)| group.fork_bytes(way.n_past, &held)).sum::<u64>()
            + self.recurrent.n_bytes()
    }

    /// A cache with the same room that holds as many of the first `n` positions of this one as
    /// [`KvCache::reach`] says, with the checkpoints among them, and shares their whole chunks; `promise` has
    /// the bytes that [`KvCache::fork_bytes`] named.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn fork(&self, n: usize, mut promise: Promise) -> Result<Self> {
        let way = self.way_back(n);
        let n_past = way.n_past;
        let state = self.state_of(way);
        let groups = self.groups.iter().zip(self.held(way));
        let groups =
            groups.map(|(group, held)| group.fork(n_past, &held, &mut promise)).collect::<Result<_>>()?;
        let recurrent = self.recurrent.fork(state.as_ref(), &mut promise)?;
        let (layout, options) = (Arc::clone(&self.layout), self.options);
        let checkpoints = self.checkpoints_within(n_past);
        Ok(Self { layout, options, n_past, groups, recurrent, checkpoints })
    }

    /// Begins to append `n` positions that were prepared: [`KvCache::advance`] counts them once every layer
    /// has them. What they do not see may be dropped.
    ///
    /// # Panics
    /// If they are more than a batch.
    pub(in crate::model) fn begin(&mut self, n: usize) {
        assert!(n <= self.options.n_batch, "{n} positions in a batch of {}", self.options.n_batch);
        self.groups.iter_mut().for_each(|group| group.begin(self.n_past, n));
        if n > 0 {
            self.recurrent.begin(self.n_past, n);
        }
    }

    /// Counts `n` positions that every layer has filled.
    pub(in crate::model) fn advance(&mut self, n: usize) {
        let n_past = self.n_past + n;
        self.groups.iter_mut().for_each(|group| group.note_filled(self.n_past, n_past));
        self.n_past = n_past;
    }

    /// Takes back the positions that were begun and that not all layers have. Recurrent mixers have changed their
    /// states by then, so that [`KvCache::rewind`] goes to the last checkpoint.
    pub(in crate::model) fn abandon(&mut self) {
        self.recurrent.spoil();
        self.rewind(self.n_past);
    }

    /// Whether it keeps what `spec` says.
    pub(in crate::model) fn is_of(&self, spec: &KvSpec) -> bool {
        self.layout.spec == *spec
    }

    /// What the recurrent mixer of a layer remembers, to be written to: zeros before the first position. A step that
    /// leaves a trail writes that as well.
    ///
    /// # Panics
    /// If it was not prepared, or the positions to be appended were not begun.
    pub(in crate::model) fn state_mut(&mut self, layer: usize) -> LayerState<'_> {
        self.recurrent.layer_mut(layer)
    }

    /// A head of a layer.
    ///
    /// # Panics
    /// If the layer keeps no keys and values.
    pub(in crate::model) fn head(&self, layer: usize, head: usize) -> KvHead<'_> {
        self.head_of(self.layout.layer(layer), head)
    }

    fn head_of<'a>(&'a self, layer: &'a LayerRows, head: usize) -> KvHead<'a> {
        KvHead { group: &self.groups[layer.group], layer, head }
    }

    /// The heads of a layer, to be written: chunk by chunk from that of `position` on, head by head.
    ///
    /// # Panics
    /// If the layer keeps no keys and values; when it comes to a chunk that was not prepared or is shared.
    pub(in crate::model) fn heads_mut(
        &mut self,
        layer: usize,
        position: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = HeadMut<'_>>> {
        let layer = *self.layout.layer(layer);
        let slots = self.groups[layer.group].slots_mut(position / CHUNK);
        slots.map(move |(place, slot)| slot.own(place).heads_mut(&layer))
    }
}

impl<'a> KvHead<'a> {
    /// What its rows look like.
    pub(in crate::model) fn rows(self) -> KvRows {
        self.layer.rows
    }

    /// The keys of some positions of one chunk.
    ///
    /// # Panics
    /// If they are not there: their layer's window has passed them.
    pub(in crate::model) fn keys(self, positions: Range<usize>) -> &'a [u8] {
        let (chunk, positions) = self.find(positions);
        chunk.keys(self.layer, self.head, positions)
    }

    /// What holds the values of some positions of one chunk: [`KvRows::holding_values`].
    ///
    /// # Panics
    /// As [`KvHead::keys`].
    pub(in crate::model) fn values(self, positions: Range<usize>) -> &'a [u8] {
        let (chunk, positions) = self.find(positions);
        chunk.values(self.layer, self.head, positions)
    }

    fn find(self, positions: Range<usize>) -> (&'a Chunk, Range<usize>) {
        let place = positions.start / CHUNK;
        (self.group.chunk(place), positions.start - place * CHUNK..positions.end - place * CHUNK)
    }
}

#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;
