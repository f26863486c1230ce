//! A text as the model has read it: the keys and values of its positions.

use gguf_simd::attention::CHUNK;

use super::engine::Engine;
use super::memory::Promise;
use crate::error::{Error, Result};
use crate::model::{KvCache, KvTypes};

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
    /// Of the memory for the positions that are not filled.
    promise: Promise<'e>,
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
        let hparams = engine.hparams();
        let promise = engine.promises().take(KvCache::position_bytes(hparams, kv_types)?, n_ctx)?;
        let ids = reserved_ids(n_ctx)?;
        let cache = KvCache::new(hparams, kv_types, n_ctx)?;
        Ok(Self { engine, cache, ids, attached: Vec::new(), promise })
    }

    /// A sequence of the same dimensions that starts with the first `n_past` positions of this one: a
    /// prompt that several texts begin with is evaluated once. Keys and values are shared in chunks of
    /// [`CHUNK`] positions; what is left of a chunk is copied.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer positions, [`Error::Limit`] if there is no memory for those
    /// that are not shared.
    pub fn fork(&mut self, n_past: usize) -> Result<Self> {
        if n_past > self.n_past() {
            let what = format!("a fork after {n_past} positions of a sequence of {}", self.n_past());
            return Err(Error::usage(what));
        }
        let position_bytes = KvCache::position_bytes(self.engine.hparams(), self.kv_types())?;
        let n_own = self.n_ctx() - n_past / CHUNK * CHUNK;
        let promise = self.engine.promises().take(position_bytes, n_own)?;
        let mut ids = reserved_ids(self.n_ctx())?;
        ids.extend_from_slice(&self.ids[..n_past]);
        let cache = self.cache.fork(n_past)?;
        let mut fork = Self { engine: self.engine, cache, ids, attached: Vec::new(), promise };
        fork.note_filled();
        Ok(fork)
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

    /// Bytes reserved for the cache.
    pub fn cache_bytes(&self) -> usize {
        self.cache.reserved_bytes()
    }

    /// Gives back what was promised of the memory that is filled now.
    pub(super) fn note_filled(&mut self) {
        self.promise.lower(self.n_ctx() - self.n_past());
    }

    /// Forgets all positions from `n_past` on; does nothing if there are none.
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
