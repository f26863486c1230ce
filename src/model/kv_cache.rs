//! The key-value cache: what attention remembers of every position, in half precision.
//!
//! The keys of one head lie one after the other along the positions, and so do its values: the
//! scores of a query read one contiguous stream. Room for the whole context is reserved at once but
//! touched only as positions are filled.

use gguf_simd::ops::Ops;

use super::Hparams;
use super::memory::reserved;
use crate::error::Result;

/// The keys and values of every layer and key-value head.
#[derive(Debug)]
pub struct KvCache {
    /// `[n_layer, n_head_kv]`.
    heads: Vec<KvHead>,
    n_head_kv: usize,
    n_ctx: usize,
    n_past: usize,
}

/// The keys and values of one head, by position.
#[derive(Debug)]
pub(super) struct KvHead {
    /// `[n_positions, head_dim_k]`, half precision.
    pub(super) keys: Vec<u16>,
    /// `[n_positions, head_dim_v]`, half precision.
    pub(super) values: Vec<u16>,
    head_dim_k: usize,
    head_dim_v: usize,
}

impl KvCache {
    /// Bytes that one position takes in all layers together.
    pub fn position_bytes(hparams: &Hparams) -> usize {
        // Each factor is within `limits`; only their product can be too large, and then nothing fits.
        let per_layer = (hparams.n_embd_k() + hparams.n_embd_v()) * size_of::<u16>();
        per_layer.saturating_mul(hparams.n_layer)
    }

    /// A cache with room for `n_ctx` positions.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn new(hparams: &Hparams, n_ctx: usize) -> Result<Self> {
        let n_heads = hparams.n_layer * hparams.n_head_kv;
        let mut heads = reserved(n_heads, 1)?;
        for _ in 0..n_heads {
            heads.push(KvHead {
                keys: reserved(n_ctx, hparams.head_dim_k)?,
                values: reserved(n_ctx, hparams.head_dim_v)?,
                head_dim_k: hparams.head_dim_k,
                head_dim_v: hparams.head_dim_v,
            });
        }
        Ok(Self { heads, n_head_kv: hparams.n_head_kv, n_ctx, n_past: 0 })
    }

    /// Positions there is room for.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Positions that are filled.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Forgets all positions from `n_past` on.
    pub fn truncate(&mut self, n_past: usize) {
        self.n_past = self.n_past.min(n_past);
        // Also after a step that failed half way: no head keeps more than the others.
        for head in &mut self.heads {
            head.keys.truncate(self.n_past * head.head_dim_k);
            head.values.truncate(self.n_past * head.head_dim_v);
        }
    }

    /// Counts `n` positions that every layer has filled.
    pub(super) fn advance(&mut self, n: usize) {
        self.n_past += n;
    }

    /// The heads of a layer.
    pub(super) fn layer_mut(&mut self, layer: usize) -> &mut [KvHead] {
        &mut self.heads[layer * self.n_head_kv..][..self.n_head_kv]
    }
}

impl KvHead {
    /// Appends a position: `key: [head_dim_k]` and `value: [head_dim_v]`. Within the room reserved
    /// it allocates nothing.
    pub(super) fn push(&mut self, ops: &Ops, key: &[f32], value: &[f32]) {
        push(ops, &mut self.keys, key);
        push(ops, &mut self.values, value);
    }

    /// The keys of the first `n` positions.
    pub(super) fn keys(&self, n: usize) -> &[u16] {
        &self.keys[..n * self.head_dim_k]
    }

    /// The values of the first `n` positions.
    pub(super) fn values(&self, n: usize) -> &[u16] {
        &self.values[..n * self.head_dim_v]
    }
}

fn push(ops: &Ops, rows: &mut Vec<u16>, row: &[f32]) {
    let end = rows.len();
    rows.resize(end + row.len(), 0);
    ops.f32_to_f16(row, &mut rows[end..]);
}
