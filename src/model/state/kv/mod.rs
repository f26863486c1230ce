//! The key-value cache: what attention remembers of every position.
//!
//! A cache is a row of chunks, each with the keys and values of some positions in all layers. Memory for the
//! whole context is reserved at once but touched only as positions are filled. What a cache has in common
//! with others, it shares in whole read-only chunks: a fork copies less than a chunk. A cache
//! that is cut down to a shared chunk and filled again gets a chunk of its own first.

mod chunk;
mod layout;
mod promises;
mod transfer;

use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::CHUNK;

use crate::error::Result;
use crate::model::memory::reserved;
use crate::model::spec::kv::KvSpec;
use chunk::{Chunk, HeadMut};
use layout::{LayerRows, Layout};

pub(in crate::model) use layout::KvRows;
pub use layout::KvTypes;
pub use promises::{Promise, Promises};

/// The keys and values of every layer and key-value head.
#[derive(Debug)]
pub struct KvCache {
    layout: Arc<Layout>,
    n_ctx: usize,
    n_past: usize,
    /// `[n_ctx / CHUNK]`, rounded up: those after the filled positions may be missing.
    chunks: Vec<Option<Arc<Chunk>>>,
}

/// The keys and values of one head of one layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct KvHead<'a> {
    cache: &'a KvCache,
    layer: &'a LayerRows,
    head: usize,
}

impl KvCache {
    /// Bytes that one position takes in all layers together.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model's heads do not divide into the blocks of a type.
    pub fn position_bytes(spec: &KvSpec, types: KvTypes) -> Result<usize> {
        Ok(Layout::new(spec, types)?.position_bytes)
    }

    /// A cache with room for `n_ctx` positions, for which `promise` has the bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model's heads do not divide into the blocks of a type,
    /// [`Error::Limit`] if the system refuses the memory.
    ///
    /// # Panics
    /// If more than [`KvCache::position_bytes`] for each position was promised, or less.
    pub fn new(spec: &KvSpec, types: KvTypes, n_ctx: usize, promise: Promise) -> Result<Self> {
        Self::of_layout(Arc::new(Layout::new(spec, types)?), n_ctx, promise)
    }

    fn of_layout(layout: Arc<Layout>, n_ctx: usize, mut promise: Promise) -> Result<Self> {
        let n_chunks = n_ctx.div_ceil(CHUNK);
        let mut cache = Self { layout, n_ctx, n_past: 0, chunks: reserved(n_chunks, 1)? };
        for i in 0..n_chunks {
            let chunk = cache.new_chunk(i, &mut promise)?;
            cache.chunks.push(Some(Arc::new(chunk)));
        }
        assert_eq!(promise.n_bytes(), 0, "promised and not needed");
        Ok(cache)
    }

    /// A cache of one layer with one head.
    #[cfg(test)]
    pub(in crate::model) fn of_one_head(rows: KvRows, n_ctx: usize) -> Self {
        let KvRows { keys, values } = rows;
        let types = KvTypes { keys: keys.cache_type(), values: values.cache_type() };
        let (head_dim_k, head_dim_v) = (keys.head_dim(), values.head_dim());
        let layer = crate::model::KvLayer { n_head_kv: 1, head_dim_k, head_dim_v, window: None };
        let layout = Layout::new(&KvSpec { layers: vec![Some(layer)] }, types).expect("rows that there are");
        let promise = Promises::default().take((layout.position_bytes * n_ctx) as u64);
        Self::of_layout(Arc::new(layout), n_ctx, promise.expect("few bytes")).expect("memory")
    }

    /// An empty chunk for place `i`.
    fn new_chunk(&self, i: usize, promise: &mut Promise) -> Result<Chunk> {
        Chunk::new(Arc::clone(&self.layout), self.chunk_len(i), promise.split(self.chunk_bytes(i)))
    }

    /// Positions of the chunk at place `i`.
    fn chunk_len(&self, i: usize) -> usize {
        CHUNK.min(self.n_ctx - i * CHUNK)
    }

    fn chunk_bytes(&self, i: usize) -> u64 {
        self.layout.position_bytes as u64 * self.chunk_len(i) as u64
    }

    /// Positions there is room for.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Positions that are filled.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// The types of its keys and values.
    pub fn types(&self) -> KvTypes {
        self.layout.types
    }

    /// Bytes of all positions, those it shares included.
    pub fn reserved_bytes(&self) -> usize {
        self.layout.position_bytes * self.n_ctx
    }

    /// Bytes of the chunks that it has reserved and not filled.
    pub fn unfilled_bytes(&self) -> u64 {
        let chunks = self.chunks.iter().flatten().filter(|chunk| !chunk.is_filled());
        chunks.map(|chunk| chunk.n_bytes()).sum()
    }

    /// Forgets all positions from `n_past` on. Chunks that others share go; its own stay reserved, in memory
    /// where they were filled.
    pub fn truncate(&mut self, n_past: usize) {
        self.n_past = self.n_past.min(n_past);
        for chunk in &mut self.chunks[self.n_past.div_ceil(CHUNK)..] {
            if chunk.as_ref().is_some_and(|chunk| Arc::strong_count(chunk) > 1) {
                *chunk = None;
            }
        }
    }

    /// Bytes that [`KvCache::prepare`] takes for `n` more positions: none unless some of them were shared.
    pub fn missing_bytes(&self, n: usize) -> u64 {
        self.places_of_next(n).filter(|&i| !self.is_own(i)).map(|i| self.chunk_bytes(i)).sum()
    }

    /// Sees to it that the chunks of the next `n` positions, for which there is room, are there and not
    /// shared; `promise` has the bytes that [`KvCache::missing_bytes`] named.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses the memory; no position changes.
    pub fn prepare(&mut self, n: usize, mut promise: Promise) -> Result<()> {
        for i in self.places_of_next(n) {
            if self.is_own(i) {
                continue;
            }
            let chunk = match &self.chunks[i] {
                // Only the first of these chunks has rows to keep.
                Some(shared) => shared.copy(self.n_past - i * CHUNK, promise.split(self.chunk_bytes(i)))?,
                None => self.new_chunk(i, &mut promise)?,
            };
            self.chunks[i] = Some(Arc::new(chunk));
        }
        Ok(())
    }

    /// The places of the chunks that the next `n` positions lie in.
    fn places_of_next(&self, n: usize) -> Range<usize> {
        if n == 0 { 0..0 } else { self.n_past / CHUNK..(self.n_past + n).div_ceil(CHUNK) }
    }

    fn is_own(&self, i: usize) -> bool {
        self.chunks[i].as_ref().is_some_and(|chunk| Arc::strong_count(chunk) == 1)
    }

    /// Bytes that [`KvCache::fork`] takes: those of all positions but the whole chunks among the first
    /// `n_past`.
    pub fn fork_bytes(&self, n_past: usize) -> u64 {
        (n_past / CHUNK..self.chunks.len()).map(|i| self.chunk_bytes(i)).sum()
    }

    /// A cache with the same room that holds the first `n_past` positions of this one, and shares the
    /// whole chunks among them; `promise` has the bytes that [`KvCache::fork_bytes`] named.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses the memory.
    ///
    /// # Panics
    /// If there are fewer positions.
    pub fn fork(&self, n_past: usize, mut promise: Promise) -> Result<Self> {
        assert!(n_past <= self.n_past, "{n_past} of {} positions", self.n_past);
        let (n_shared, n_copied) = (n_past / CHUNK, n_past % CHUNK);
        let mut chunks = reserved(self.chunks.len(), 1)?;
        chunks.extend_from_slice(&self.chunks[..n_shared]);
        for i in n_shared..self.chunks.len() {
            let chunk = match &self.chunks[i] {
                Some(chunk) if i == n_shared && n_copied > 0 => {
                    chunk.copy(n_copied, promise.split(self.chunk_bytes(i)))?
                }
                _ => self.new_chunk(i, &mut promise)?,
            };
            chunks.push(Some(Arc::new(chunk)));
        }
        Ok(Self { layout: Arc::clone(&self.layout), n_ctx: self.n_ctx, n_past, chunks })
    }

    /// Counts `n` positions that every layer has filled.
    pub(in crate::model) fn advance(&mut self, n: usize) {
        let places = self.places_of_next(n);
        self.n_past += n;
        let n_past = self.n_past;
        for i in places {
            self.chunk_mut(i).note_filled(CHUNK.min(n_past - i * CHUNK));
        }
    }

    /// The chunk at place `i`, to be written to.
    ///
    /// # Panics
    /// If it is missing or shared: [`KvCache::prepare`] was not called for its positions.
    fn chunk_mut(&mut self, i: usize) -> &mut Chunk {
        own(&mut self.chunks[i])
    }

    /// Whether it keeps what `spec` says.
    pub(in crate::model) fn is_of(&self, spec: &KvSpec) -> bool {
        self.layout.spec == *spec
    }

    /// A head of a layer.
    ///
    /// # Panics
    /// If the layer keeps no keys and values.
    pub(in crate::model) fn head(&self, layer: usize, head: usize) -> KvHead<'_> {
        KvHead { cache: self, layer: self.layout.layer(layer), head }
    }

    /// The heads of a layer, to be written: chunk by chunk from that of `position` on, head by head.
    ///
    /// # Panics
    /// If the layer keeps no keys and values; when it comes to a chunk that is missing or shared.
    pub(in crate::model) fn heads_mut(
        &mut self,
        layer: usize,
        position: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = HeadMut<'_>>> {
        let layer = *self.layout.layer(layer);
        self.chunks[position / CHUNK..].iter_mut().map(move |chunk| own(chunk).heads_mut(&layer))
    }
}

fn own(chunk: &mut Option<Arc<Chunk>>) -> &mut Chunk {
    chunk.as_mut().and_then(Arc::get_mut).expect("a chunk of its own, prepared before positions are written")
}

impl<'a> KvHead<'a> {
    /// What its rows look like.
    pub(in crate::model) fn rows(self) -> KvRows {
        self.layer.rows
    }

    /// The keys of some positions of one chunk.
    pub(in crate::model) fn keys(self, positions: Range<usize>) -> &'a [u8] {
        let (chunk, positions) = self.find(positions);
        chunk.keys(self.layer, self.head, positions)
    }

    /// The values of some positions of one chunk.
    pub(in crate::model) fn values(self, positions: Range<usize>) -> &'a [u8] {
        let (chunk, positions) = self.find(positions);
        chunk.values(self.layer, self.head, positions)
    }

    fn find(self, positions: Range<usize>) -> (&'a Chunk, Range<usize>) {
        let i = positions.start / CHUNK;
        let chunk = self.cache.chunks[i].as_ref().expect("filled positions have their chunk");
        (chunk, positions.start - i * CHUNK..positions.end - i * CHUNK)
    }
}

#[cfg(test)]
mod tests;
