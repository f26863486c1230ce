//! A text as the model has read it: the keys and values of its positions.

use super::engine::Engine;
use super::memory::check_fits;
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
}

impl<'e> Sequence<'e> {
    /// An empty sequence with room for `n_ctx` positions, all of which it reserves.
    ///
    /// # Errors
    /// [`Error::Usage`] for a context of none, or heads that do not divide into the blocks of a cache
    /// type; [`Error::Limit`] if the memory is not there, naming the greatest context that fits.
    pub fn new(engine: &'e Engine, n_ctx: usize, kv_types: KvTypes) -> Result<Self> {
        if n_ctx == 0 {
            return Err(Error::usage("a sequence needs a --ctx of at least 1"));
        }
        let hparams = engine.hparams();
        check_fits(KvCache::position_bytes(hparams, kv_types)?, n_ctx)?;
        let mut ids = Vec::new();
        let refused = |_| Error::limit(format!("there is no memory for {n_ctx} tokens; use a smaller --ctx"));
        ids.try_reserve_exact(n_ctx).map_err(refused)?;
        Ok(Self { engine, cache: KvCache::new(hparams, kv_types, n_ctx)?, ids })
    }

    /// The engine.
    pub fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// The token of each position that is filled.
    pub fn ids(&self) -> &[u32] {
        &self.ids
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
