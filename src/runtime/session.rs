//! A conversation with a model: its key-value cache and the buffers of its steps.

use std::ops::Range;

use gguf_simd::attention::CHUNK;

use super::engine::Engine;
use super::memory;
use crate::error::{Error, Result};
use crate::limits::MAX_DIMENSION;
use crate::model::{KvCache, KvTypes, Workspace};

/// The dimensions of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Positions there is room for.
    pub n_ctx: usize,
    /// Tokens evaluated together; at most `n_ctx` are used. It changes speed and memory, never results.
    pub n_batch: usize,
    /// The types of cached keys and values.
    pub kv_types: KvTypes,
}

/// The positions of a step whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// None: the step only fills the cache.
    None,
    /// The last one: what follows the ids.
    Last,
    /// All of them. They are held together, `n_vocab` floats for each id: evaluate a long text in
    /// several steps.
    All,
}

/// A key-value cache and the buffers of a step, on an [`Engine`] that others may use as well. After
/// the first step with [`Logits::All`] of a length, steps allocate nothing; others never do.
#[derive(Debug)]
pub struct Session<'e> {
    engine: &'e Engine,
    cache: KvCache,
    space: Workspace,
    n_batch: usize,
    /// `[n_wanted, n_vocab]`.
    logits: Vec<f32>,
}

impl<'e> Session<'e> {
    /// Makes a session, and reserves all it needs.
    ///
    /// # Errors
    /// [`Error::Usage`] for a context or a batch of none, or heads that do not divide into the blocks of
    /// a cache type; [`Error::Limit`] if the memory is not
    /// there, naming the greatest context that fits.
    pub fn new(engine: &'e Engine, options: SessionOptions) -> Result<Self> {
        let SessionOptions { n_ctx, n_batch, kv_types } = options;
        if n_ctx == 0 || n_batch == 0 {
            return Err(Error::usage("a session needs a --ctx and a --batch of at least 1"));
        }
        let (hparams, n_threads) = (engine.hparams(), engine.n_threads());
        let beside = Workspace::chunk_bytes(hparams, n_threads).div_ceil(CHUNK);
        let position_bytes = KvCache::position_bytes(hparams, kv_types)?.saturating_add(beside);
        check_cache_fits(position_bytes, n_ctx, memory::available_bytes())?;
        let n_batch = n_batch.min(n_ctx);
        let mut logits = Vec::new();
        reserve_logits(&mut logits, engine.n_vocab())?;
        let cache = KvCache::new(hparams, kv_types, n_ctx)?;
        let space = engine.decoder().workspace(&cache, n_batch, n_threads)?;
        Ok(Self { engine, cache, space, n_batch, logits })
    }

    /// Evaluates `ids` at the positions that follow, in batches, and returns the logits `wanted`:
    /// `[n_wanted, n_vocab]`.
    ///
    /// # Errors
    /// Before anything is computed: [`Error::Limit`] if the context has no room for the ids or memory
    /// none for the logits, [`Error::Usage`] for an id that is not below `n_vocab`, or for no ids when
    /// the last one's logits are wanted.
    pub fn step(&mut self, ids: &[u32], wanted: Logits) -> Result<&[f32]> {
        self.check(ids)?;
        let n_vocab = self.engine.n_vocab();
        let first_wanted = match (wanted, ids.len()) {
            (Logits::Last, 0) => return Err(Error::usage("there is no last token: the step has no ids")),
            (Logits::None, n) => n,
            (Logits::Last, n) => n - 1,
            (Logits::All, _) => 0,
        };
        reserve_logits(&mut self.logits, (ids.len() - first_wanted).saturating_mul(n_vocab))?;
        self.logits.resize((ids.len() - first_wanted) * n_vocab, 0.0);
        // Positions of a step that panicked half way are dropped.
        self.cache.truncate(self.cache.n_past());
        for (i, batch) in ids.chunks(self.n_batch).enumerate() {
            let start = i * self.n_batch;
            let rows = first_wanted.saturating_sub(start).min(batch.len())..batch.len();
            let done = start.saturating_sub(first_wanted) * n_vocab;
            self.evaluate(batch, rows.clone(), done..done + rows.len() * n_vocab);
        }
        Ok(&self.logits)
    }

    /// Evaluates one batch, and puts the logits of `rows` into their place.
    fn evaluate(&mut self, ids: &[u32], rows: Range<usize>, place: Range<usize>) {
        let (decoder, compute) = (self.engine.decoder(), self.engine.compute());
        decoder.forward(compute, &mut self.cache, &mut self.space, ids, rows.clone());
        if !rows.is_empty() {
            decoder.logits(compute, &mut self.space, rows, &mut self.logits[place]);
        }
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        let (n_past, n_ctx, n_vocab) = (self.n_past(), self.n_ctx(), self.engine.n_vocab());
        if ids.len() > n_ctx - n_past {
            return Err(Error::limit(format!(
                "{} tokens after {n_past} exceed the context of {n_ctx}; use a greater --ctx",
                ids.len()
            )));
        }
        match ids.iter().find(|&&id| id as usize >= n_vocab) {
            Some(id) => Err(Error::usage(format!("there is no token {id}; the vocabulary has {n_vocab}"))),
            None => Ok(()),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// Positions that are filled.
    pub fn n_past(&self) -> usize {
        self.cache.n_past()
    }

    /// Positions there is room for.
    pub fn n_ctx(&self) -> usize {
        self.cache.n_ctx()
    }

    /// Tokens evaluated together.
    pub fn n_batch(&self) -> usize {
        self.n_batch
    }

    /// Bytes reserved for the cache.
    pub fn cache_bytes(&self) -> usize {
        self.cache.reserved_bytes()
    }

    /// The types of cached keys and values.
    pub fn kv_types(&self) -> KvTypes {
        self.cache.types()
    }

    /// Forgets all positions from `n_past` on; does nothing if there are none.
    pub fn truncate(&mut self, n_past: usize) {
        self.cache.truncate(n_past);
    }

    /// Forgets all positions.
    pub fn clear(&mut self) {
        self.truncate(0);
    }
}

/// Makes room for `n` floats.
fn reserve_logits(logits: &mut Vec<f32>, n: usize) -> Result<()> {
    logits.clear();
    logits.try_reserve_exact(n).map_err(|_| {
        Error::limit(format!("there is no memory for {n} logits; ask for those of fewer tokens at a time"))
    })
}

/// Whether a cache of `n_ctx` positions fits into what is available, if that is known.
fn check_cache_fits(position_bytes: usize, n_ctx: usize, available: Option<u64>) -> Result<()> {
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let needed = position_bytes.checked_mul(n_ctx).and_then(|bytes| u64::try_from(bytes).ok());
    let available = available.unwrap_or(u64::MAX);
    match needed {
        Some(needed) if needed <= available && n_ctx <= MAX_DIMENSION => Ok(()),
        _ => {
            let fits = (available / (position_bytes as u64).max(1)).min(MAX_DIMENSION as u64);
            let needed = gib(needed.unwrap_or(u64::MAX));
            Err(Error::limit(format!(
                "a context of {n_ctx} needs {needed:.2} GiB of key-value cache, and there is room for {fits}; \
                 use --ctx {fits} or less"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_too_long_names_the_one_that_fits() {
        check_cache_fits(1024, 1000, Some(1024 * 1000)).unwrap();
        check_cache_fits(1024, 1000, None).unwrap();
        let error = check_cache_fits(1024, 1001, Some(1024 * 1000)).unwrap_err().to_string();
        assert!(error.contains("--ctx 1000 or less"), "{error}");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        for n_ctx in [usize::MAX, MAX_DIMENSION + 1] {
            let error = check_cache_fits(1 << 20, n_ctx, None).unwrap_err();
            assert!(matches!(error, Error::Limit { .. }), "{error}");
        }
    }
}
