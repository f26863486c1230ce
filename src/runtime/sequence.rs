//! A text as the model has read it: the keys and values of its positions.

use super::engine::Engine;
use super::memory::shown;
use crate::error::{Error, Result};
use crate::limits::MAX_DIMENSION;
use crate::model::{KvCache, KvTypes, Promise};

/// The tokens of a text and their keys and values, on an [`Engine`] that others may use as well. An
/// [`super::Evaluator`] appends to it.
#[derive(Debug)]
pub struct Sequence<'e> {
    engine: &'e Engine,
    pub(super) cache: KvCache,
    /// `[n_past]`: the token of each position.
    pub(super) ids: Vec<u32>,
    /// See [`Sequence::attached`].
    pub(super) attached: Vec<u8>,
}

impl<'e> Sequence<'e> {
    /// An empty sequence with room for `n_ctx` positions, all of which it reserves.
    ///
    /// # Errors
    /// [`Error::Usage`] for a context of none, or heads that do not divide into the blocks of a cache
    /// type; [`Error::Limit`] if the memory is not there, beside what the other sequences of the engine
    /// have reserved and not filled, naming the greatest context that fits.
    pub fn new(engine: &'e Engine, n_ctx: usize, kv_types: KvTypes) -> Result<Self> {
        if n_ctx == 0 {
            return Err(Error::usage("a sequence needs a --ctx of at least 1"));
        }
        let kv_spec = engine.decoder().kv_spec();
        let position_bytes = KvCache::position_bytes(kv_spec, kv_types)? as u64;
        let n_bytes = position_bytes.saturating_mul(n_ctx as u64);
        let promise = engine.promise(n_bytes).map_err(|left| {
            // A little later there may be a little less.
            let fits = ((left - left / 32) / position_bytes.max(1)).min(MAX_DIMENSION as u64);
            Error::limit(format!(
                "a context of {n_ctx} does not fit into memory: its keys and values take {} and there is room for \
                 {}; use --ctx {fits} or less",
                shown(n_bytes),
                shown(left),
            ))
        })?;
        if n_ctx > MAX_DIMENSION {
            return Err(Error::limit(format!(
                "a context of {n_ctx} is beyond all limits; use --ctx {MAX_DIMENSION} or less"
            )));
        }
        let ids = reserved_ids(n_ctx)?;
        let cache = KvCache::new(kv_spec, kv_types, n_ctx, promise)?;
        Ok(Self { engine, cache, ids, attached: Vec::new() })
    }

    /// A sequence of the same dimensions that starts with the first `n_past` positions of this one: a
    /// prompt that several texts begin with is evaluated once. Keys and values are shared in chunks of
    /// [`CHUNK`](gguf_simd::attention::CHUNK) positions; what is left of a chunk is copied. The fork reserves
    /// memory for the positions that it does not share.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer positions, [`Error::Limit`] if there is no memory for those
    /// that are not shared.
    pub fn fork(&self, n_past: usize) -> Result<Self> {
        if n_past > self.n_past() {
            let what = format!("a fork after {n_past} positions of a sequence of {}", self.n_past());
            return Err(Error::usage(what));
        }
        let promise = self.promise(self.cache.fork_bytes(n_past))?;
        let mut ids = reserved_ids(self.n_ctx())?;
        ids.extend_from_slice(&self.ids[..n_past]);
        Ok(Self { engine: self.engine, cache: self.cache.fork(n_past, promise)?, ids, attached: Vec::new() })
    }

    /// The engine.
    pub fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// The token of each position that is filled.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// What its file had attached for the program that saved it; nothing if it comes from no file.
    pub fn attached(&self) -> &[u8] {
        &self.attached
    }

    /// Positions that are filled.
    pub fn n_past(&self) -> usize {
        self.cache.n_past()
    }

    /// Positions there is room for.
    pub fn n_ctx(&self) -> usize {
        self.cache.n_ctx()
    }

    /// The types of cached keys and values.
    pub fn kv_types(&self) -> KvTypes {
        self.cache.types()
    }

    /// Bytes of the cache, those that it shares included.
    pub fn cache_bytes(&self) -> usize {
        self.cache.reserved_bytes()
    }

    /// Bytes that it has reserved for keys and values and not filled.
    pub fn unfilled_bytes(&self) -> u64 {
        self.cache.unfilled_bytes()
    }

    fn promise(&self, n_bytes: u64) -> Result<Promise> {
        self.engine.promise(n_bytes).map_err(|left| {
            Error::limit(format!(
                "keys and values of {} are needed and there is room for {}; end some sequences, or use a smaller --ctx",
                shown(n_bytes),
                shown(left),
            ))
        })
    }

    /// Reserves what the next `n` positions need and was shared before.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is no memory for it.
    pub(super) fn prepare(&mut self, n: usize) -> Result<()> {
        match self.cache.missing_bytes(n) {
            0 => Ok(()),
            n_bytes => {
                let promise = self.promise(n_bytes)?;
                self.cache.prepare(n, promise)
            }
        }
    }

    /// Forgets all positions from `n_past` on; does nothing if there are none. The memory of the sequence's
    /// own positions stays reserved for it. What it shares with others it gives up: the step that fills those
    /// positions again reserves memory for them, and fails if there is none.
    pub fn truncate(&mut self, n_past: usize) {
        self.cache.truncate(n_past);
        self.ids.truncate(self.cache.n_past());
    }

    /// Forgets all positions.
    pub fn clear(&mut self) {
        self.truncate(0);
    }
}

fn reserved_ids(n_ctx: usize) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    let refused = |_| Error::limit(format!("there is no memory for {n_ctx} tokens; use a smaller --ctx"));
    ids.try_reserve_exact(n_ctx).map_err(refused)?;
    Ok(ids)
}
