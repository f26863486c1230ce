//! The key-value cache: what attention remembers of every position.
//!
//! The keys of one head lie one after the other along the positions, and so do its values: the
//! scores of a query read contiguous streams. Room for the whole context is reserved at once but
//! touched only as positions are filled. The first positions may be shared with other caches (`rows`).

mod rows;
mod transfer;

use std::fmt;
use std::ops::Range;

use gguf_simd::attention::{Attention, CacheRows, CacheType};

use super::Hparams;
use super::memory::reserved;
use crate::error::{Error, Result};
use rows::StoredRows;

/// The types of cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvTypes {
    /// Of the keys.
    pub keys: CacheType,
    /// Of the values.
    pub values: CacheType,
}

impl KvTypes {
    /// The same type for keys and values.
    pub fn both(cache_type: CacheType) -> Self {
        Self { keys: cache_type, values: cache_type }
    }

    /// The rows of a model's heads in these types.
    ///
    /// # Errors
    /// [`Error::Usage`] if the heads do not divide into the blocks of a type.
    pub(super) fn rows(self, hparams: &Hparams) -> Result<KvRows> {
        let rows = |what, cache_type, head_dim| {
            CacheRows::new(cache_type, head_dim).map_err(|uneven| {
                Error::usage(format!(
                    "this model's {what} cannot be cached as {cache_type}: {uneven} (--kv-type f16)"
                ))
            })
        };
        Ok(KvRows {
            keys: rows("keys", self.keys, hparams.head_dim_k)?,
            values: rows("values", self.values, hparams.head_dim_v)?,
        })
    }
}

/// One name if both are the same, else both, the keys' first.
impl fmt::Display for KvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keys == self.values {
            return self.keys.fmt(f);
        }
        f.pad(&format!("{},{}", self.keys, self.values))
    }
}

/// The rows of one head, by position.
#[derive(Clone, Copy, Debug)]
pub(super) struct KvRows {
    pub(super) keys: CacheRows,
    pub(super) values: CacheRows,
}

/// The keys and values of every layer and key-value head.
#[derive(Debug)]
pub struct KvCache {
    /// `[n_layer, n_head_kv]`.
    heads: Vec<KvHead>,
    rows: KvRows,
    n_head_kv: usize,
    n_ctx: usize,
    n_past: usize,
}

/// The keys and values of one head, by position.
#[derive(Debug)]
pub(super) struct KvHead {
    keys: StoredRows,
    values: StoredRows,
}

impl KvCache {
    /// Bytes that one position takes in all layers together.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model's heads do not divide into the blocks of a type.
    pub fn position_bytes(hparams: &Hparams, types: KvTypes) -> Result<usize> {
        let rows = types.rows(hparams)?;
        // Each factor is within `limits`; only their product can be too large, and then nothing fits.
        let per_layer = hparams.n_head_kv.saturating_mul(rows.keys.row_bytes() + rows.values.row_bytes());
        Ok(per_layer.saturating_mul(hparams.n_layer))
    }

    /// A cache with room for `n_ctx` positions.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model's heads do not divide into the blocks of a type,
    /// [`Error::Limit`] if the system refuses the memory.
    pub fn new(hparams: &Hparams, types: KvTypes, n_ctx: usize) -> Result<Self> {
        let rows = types.rows(hparams)?;
        let n_heads = hparams.n_layer * hparams.n_head_kv;
        let mut heads = reserved(n_heads, 1)?;
        for _ in 0..n_heads {
            heads.push(KvHead::reserved(rows, n_ctx)?);
        }
        Ok(Self { heads, rows, n_head_kv: hparams.n_head_kv, n_ctx, n_past: 0 })
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
        KvTypes { keys: self.rows.keys.cache_type(), values: self.rows.values.cache_type() }
    }

    /// Bytes reserved for all positions.
    pub fn reserved_bytes(&self) -> usize {
        self.heads.len() * (self.rows.keys.row_bytes() + self.rows.values.row_bytes()) * self.n_ctx
    }

    /// Forgets all positions from `n_past` on.
    pub fn truncate(&mut self, n_past: usize) {
        self.n_past = self.n_past.min(n_past);
        // Also after a step that failed half way: no head keeps more than the others.
        for head in &mut self.heads {
            head.keys.truncate(self.n_past);
            head.values.truncate(self.n_past);
        }
    }

    /// A cache with the same room that holds the first `n_past` positions of this one, and shares the
    /// whole chunks among them: it copies less than a chunk.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses the memory.
    ///
    /// # Panics
    /// If there are fewer positions.
    pub fn fork(&mut self, n_past: usize) -> Result<Self> {
        assert!(n_past <= self.n_past, "{n_past} of {} positions", self.n_past);
        let mut heads = reserved(self.heads.len(), 1)?;
        for head in &mut self.heads {
            heads.push(KvHead { keys: head.keys.fork(n_past)?, values: head.values.fork(n_past)? });
        }
        Ok(Self { heads, n_past, ..*self })
    }

    /// Counts `n` positions that every layer has filled.
    pub(super) fn advance(&mut self, n: usize) {
        self.n_past += n;
    }

    /// Whether it has the heads of the model with `hparams`.
    pub(super) fn is_of(&self, hparams: &Hparams) -> bool {
        let dims = [self.rows.keys.head_dim(), self.rows.values.head_dim()];
        self.n_head_kv == hparams.n_head_kv
            && self.heads.len() == hparams.n_layer * hparams.n_head_kv
            && dims == [hparams.head_dim_k, hparams.head_dim_v]
    }

    /// The heads of a layer.
    pub(super) fn layer(&self, layer: usize) -> &[KvHead] {
        &self.heads[layer * self.n_head_kv..][..self.n_head_kv]
    }

    /// The heads of a layer.
    pub(super) fn layer_mut(&mut self, layer: usize) -> &mut [KvHead] {
        &mut self.heads[layer * self.n_head_kv..][..self.n_head_kv]
    }
}

impl KvHead {
    /// A head with room for `n_ctx` positions.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses the memory.
    pub(super) fn reserved(rows: KvRows, n_ctx: usize) -> Result<Self> {
        let reserve = |rows| StoredRows::reserved(rows, n_ctx);
        Ok(Self { keys: reserve(rows.keys)?, values: reserve(rows.values)? })
    }

    /// Appends a position: `key: [head_dim_k]` and `value: [head_dim_v]`. Within the room reserved
    /// it allocates nothing.
    pub(super) fn push(&mut self, attention: &Attention, key: &[f32], value: &[f32]) {
        self.keys.push(attention, key);
        self.values.push(attention, value);
    }

    /// The rows of its keys and values.
    pub(super) fn rows(&self) -> KvRows {
        KvRows { keys: self.keys.rows(), values: self.values.rows() }
    }

    /// The keys of some positions of one chunk.
    pub(super) fn keys(&self, positions: Range<usize>) -> &[u8] {
        self.keys.get(positions)
    }

    /// The values of some positions of one chunk.
    pub(super) fn values(&self, positions: Range<usize>) -> &[u8] {
        self.values.get(positions)
    }
}
