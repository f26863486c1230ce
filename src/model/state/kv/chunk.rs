//! Memory for the keys and values of [`CHUNK`] positions in the layers of a group: the unit in which caches
//! reserve, share and give back memory.
//!
//! A chunk is, layer by layer and head by head, the keys of its positions, then their values, so that
//! attention reads both in one piece. It is a mapping of its own: the system gives its pages as they are filled, and
//! has them back at once when the last sequence that shares it goes.

use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::{Attention, CHUNK, CacheRows};
use memmap2::MmapMut;

use super::layout::{GroupLayout, KvRows, LayerRows};
use crate::error::{Error, Result};
use crate::model::state::promises::Promise;

/// The keys and values of up to [`CHUNK`] positions.
#[derive(Debug)]
pub(super) struct Chunk {
    layout: Arc<GroupLayout>,
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
    pub(super) fn new(layout: Arc<GroupLayout>, n: usize, promise: Promise) -> Result<Self> {
        debug_assert!(0 < n && n <= CHUNK);
        let n_bytes = layout.position_bytes.saturating_mul(n);
        let bytes = MmapMut::map_anon(n_bytes).map_err(|e| {
            Error::limit(format!(
                "the system refuses {n_bytes} bytes for the keys and values of {n} positions ({e}); use a smaller \
                 --ctx"
            ))
        })?;
        Ok(Self { layout, n, bytes, promise })
    }

    /// Takes over the first `n_rows` positions of `from`.
    pub(super) fn copy_from(&mut self, from: &Self, n_rows: usize) {
        let layout = Arc::clone(&self.layout);
        for layer in &layout.layers {
            for (head, mut to) in self.heads_mut(layer).enumerate() {
                to.keys_mut(0..n_rows).copy_from_slice(from.keys(layer, head, 0..n_rows));
                if layer.rows.values.is_some() {
                    to.values_mut(0..n_rows).copy_from_slice(from.values(layer, head, 0..n_rows));
                }
            }
        }
    }

    /// Bytes reserved.
    pub(super) fn n_bytes(&self) -> u64 {
        self.promise.n_bytes()
    }

    /// Whether all of its memory is in use.
    pub(super) fn is_filled(&self) -> bool {
        self.promise.is_kept()
    }

    /// Notes that its first `n_rows` positions are filled, or all if it has fewer.
    pub(super) fn note_filled(&mut self, n_rows: usize) {
        if n_rows >= self.n {
            self.promise.keep();
        }
    }

    /// The keys of some positions, counted from the chunk's first.
    pub(super) fn keys(&self, layer: &LayerRows, head: usize, positions: Range<usize>) -> &[u8] {
        rows_of(self.head(layer, head).0, layer.rows.keys, positions)
    }

    /// What holds the values of some positions, counted from the chunk's first: [`KvRows::holding_values`].
    pub(super) fn values(&self, layer: &LayerRows, head: usize, positions: Range<usize>) -> &[u8] {
        match layer.rows.values {
            Some(values) => rows_of(self.head(layer, head).1, values, positions),
            None => self.keys(layer, head, positions),
        }
    }

    /// The keys and the values of a head.
    fn head(&self, layer: &LayerRows, head: usize) -> (&[u8], &[u8]) {
        let (key_bytes, head_bytes) = self.head_bytes(layer.rows);
        let head = &self.bytes[layer.offset * self.n + head * head_bytes..][..head_bytes];
        head.split_at(key_bytes)
    }

    /// The heads of a layer.
    pub(super) fn heads_mut(&mut self, layer: &LayerRows) -> impl Iterator<Item = HeadMut<'_>> + use<'_> {
        let &LayerRows { offset, n_head_kv, rows, .. } = layer;
        let (key_bytes, head_bytes) = self.head_bytes(rows);
        let heads = self.bytes[offset * self.n..][..n_head_kv * head_bytes].chunks_exact_mut(head_bytes);
        heads.map(move |head| {
            let (keys, values) = head.split_at_mut(key_bytes);
            HeadMut { rows, keys, values }
        })
    }

    /// Bytes of the keys of a head, and of its keys and values.
    fn head_bytes(&self, rows: KvRows) -> (usize, usize) {
        let key_bytes = self.n * rows.keys.row_bytes();
        (key_bytes, key_bytes + self.n * rows.value_bytes())
    }
}

impl HeadMut<'_> {
    /// Stores the `key: [head_dim_k]` and the `value: [head_dim_v]` of a position, counted from the chunk's
    /// first. Where values are elements of the keys, they are not stored again.
    pub(in crate::model) fn store(&mut self, attention: &Attention, at: usize, key: &[f32], value: &[f32]) {
        attention.store(self.rows.keys, key, self.keys_mut(at..at + 1));
        if let Some(values) = self.rows.values {
            attention.store(values, value, self.values_mut(at..at + 1));
        }
    }

    /// The keys of some positions.
    pub(super) fn keys_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        rows_of_mut(self.keys, self.rows.keys, positions)
    }

    /// The values of some positions, where they are not elements of the keys.
    pub(super) fn values_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        match self.rows.values {
            Some(values) => rows_of_mut(self.values, values, positions),
            None => &mut [],
        }
    }
}

fn rows_of(bytes: &[u8], rows: CacheRows, positions: Range<usize>) -> &[u8] {
    &bytes[positions.start * rows.row_bytes()..positions.end * rows.row_bytes()]
}

fn rows_of_mut(bytes: &mut [u8], rows: CacheRows, positions: Range<usize>) -> &mut [u8] {
    &mut bytes[positions.start * rows.row_bytes()..positions.end * rows.row_bytes()]
}
