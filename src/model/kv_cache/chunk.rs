//! Memory for the keys and values of [`CHUNK`] positions in all layers: the unit in which caches reserve,
//! share and give back memory.
//!
//! A chunk is `[n_layer, n_head_kv]` times the keys of its positions, then their values, so that attention
//! reads both in one piece. It is a mapping of its own: the system gives its pages as they are filled, and
//! has them back at once when the last sequence that shares it goes.

use std::ops::Range;

use gguf_simd::attention::{Attention, CHUNK, CacheRows};
use memmap2::MmapMut;

use super::promises::Promise;
use crate::error::{Error, Result};

/// The rows of one head, by position.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct KvRows {
    pub(in crate::model) keys: CacheRows,
    pub(in crate::model) values: CacheRows,
}

/// What the chunks of a cache look like.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Shape {
    pub(in crate::model) n_layer: usize,
    pub(in crate::model) n_head_kv: usize,
    pub(in crate::model) rows: KvRows,
}

impl Shape {
    /// Bytes of one position in all layers together, [`usize::MAX`] if they cannot be counted.
    pub(super) fn position_bytes(&self) -> usize {
        // Each factor is within `limits`; only their product can be too large, and then nothing fits.
        let row_bytes = self.rows.keys.row_bytes() + self.rows.values.row_bytes();
        self.n_layer.saturating_mul(self.n_head_kv).saturating_mul(row_bytes)
    }
}

/// The keys and values of up to [`CHUNK`] positions.
#[derive(Debug)]
pub(super) struct Chunk {
    shape: Shape,
    /// Positions there is room for.
    n: usize,
    bytes: MmapMut,
    promise: Promise,
}

/// The keys and values of one head in a chunk, to be written.
pub(in crate::model) struct HeadMut<'a> {
    rows: KvRows,
    /// `[n]` rows.
    keys: &'a mut [u8],
    /// `[n]` rows.
    values: &'a mut [u8],
}

impl Chunk {
    /// Room for `n` positions, for which `promise` has the bytes.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses the memory.
    pub(super) fn new(shape: Shape, n: usize, promise: Promise) -> Result<Self> {
        debug_assert!(0 < n && n <= CHUNK);
        let n_bytes = shape.position_bytes().saturating_mul(n);
        let bytes = MmapMut::map_anon(n_bytes).map_err(|e| {
            Error::limit(format!(
                "the system refuses {n_bytes} bytes for the keys and values of {n} positions ({e}); use a smaller \
                 --ctx"
            ))
        })?;
        Ok(Self { shape, n, bytes, promise })
    }

    /// A chunk of as many positions with the first `n_rows` of this one.
    ///
    /// # Errors
    /// As [`Chunk::new`].
    pub(super) fn copy(&self, n_rows: usize, promise: Promise) -> Result<Self> {
        let mut copy = Self::new(self.shape, self.n, promise)?;
        for layer in 0..self.shape.n_layer {
            for (head, mut to) in copy.heads_mut(layer).enumerate() {
                to.keys_mut(0..n_rows).copy_from_slice(self.keys(layer, head, 0..n_rows));
                to.values_mut(0..n_rows).copy_from_slice(self.values(layer, head, 0..n_rows));
            }
        }
        Ok(copy)
    }

    /// Bytes reserved.
    pub(super) fn n_bytes(&self) -> u64 {
        self.promise.n_bytes()
    }

    /// Whether all of its memory is in use.
    pub(super) fn is_filled(&self) -> bool {
        self.promise.is_kept()
    }

    /// Notes that its first `n_rows` positions are filled.
    pub(super) fn note_filled(&mut self, n_rows: usize) {
        if n_rows == self.n {
            self.promise.keep();
        }
    }

    fn key_bytes(&self) -> usize {
        self.n * self.shape.rows.keys.row_bytes()
    }

    fn head_bytes(&self) -> usize {
        self.key_bytes() + self.n * self.shape.rows.values.row_bytes()
    }

    fn head(&self, layer: usize, head: usize) -> &[u8] {
        let n_bytes = self.head_bytes();
        &self.bytes[(layer * self.shape.n_head_kv + head) * n_bytes..][..n_bytes]
    }

    /// The keys of some positions, counted from the chunk's first.
    pub(super) fn keys(&self, layer: usize, head: usize, positions: Range<usize>) -> &[u8] {
        rows_of(&self.head(layer, head)[..self.key_bytes()], self.shape.rows.keys, positions)
    }

    /// The values of some positions, counted from the chunk's first.
    pub(super) fn values(&self, layer: usize, head: usize, positions: Range<usize>) -> &[u8] {
        rows_of(&self.head(layer, head)[self.key_bytes()..], self.shape.rows.values, positions)
    }

    /// The heads of a layer.
    pub(super) fn heads_mut(&mut self, layer: usize) -> impl Iterator<Item = HeadMut<'_>> {
        let (rows, n_head_kv) = (self.shape.rows, self.shape.n_head_kv);
        let (key_bytes, head_bytes) = (self.key_bytes(), self.head_bytes());
        let layer_bytes = n_head_kv * head_bytes;
        let heads = self.bytes[layer * layer_bytes..][..layer_bytes].chunks_exact_mut(head_bytes);
        heads.map(move |head| {
            let (keys, values) = head.split_at_mut(key_bytes);
            HeadMut { rows, keys, values }
        })
    }
}

impl HeadMut<'_> {
    /// Stores the `key: [head_dim_k]` and the `value: [head_dim_v]` of a position, counted from the chunk's
    /// first.
    pub(in crate::model) fn store(&mut self, attention: &Attention, at: usize, key: &[f32], value: &[f32]) {
        let KvRows { keys, values } = self.rows;
        attention.store(keys, key, self.keys_mut(at..at + 1));
        attention.store(values, value, self.values_mut(at..at + 1));
    }

    /// The keys of some positions.
    pub(super) fn keys_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        rows_of_mut(self.keys, self.rows.keys, positions)
    }

    /// The values of some positions.
    pub(super) fn values_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        rows_of_mut(self.values, self.rows.values, positions)
    }
}

fn rows_of(bytes: &[u8], rows: CacheRows, positions: Range<usize>) -> &[u8] {
    &bytes[positions.start * rows.row_bytes()..positions.end * rows.row_bytes()]
}

fn rows_of_mut(bytes: &mut [u8], rows: CacheRows, positions: Range<usize>) -> &mut [u8] {
    &mut bytes[positions.start * rows.row_bytes()..positions.end * rows.row_bytes()]
}
