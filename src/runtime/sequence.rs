//! A text as the model has read it: the keys and values of its positions, and the states of recurrent mixers.

use gguf_simd::attention::CHUNK;

use super::engine::Engine;
use super::memory::{greatest_that, shown};
use super::session_options::SessionOptions;
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
    /// An empty sequence with room for `n_ctx` positions, all of which it reserves, to be evaluated in batches
    /// of `n_batch` tokens at most.
    ///
    /// # Errors
    /// [`Error::Usage`] for a context or a batch of none, or heads that do not divide into the blocks of a
    /// cache type; [`Error::Limit`] if the memory is not there, beside what the other sequences of the engine
    /// have reserved and not filled, naming the greatest context that fits.
    pub fn new(engine: &'e Engine, options: SessionOptions) -> Result<Self> {
        let options = options.checked()?;
        let SessionOptions { n_ctx, n_batch, .. } = options;
        if let Some(max) = engine.spec().max_ctx.filter(|&max| n_ctx > max) {
            return Err(Error::usage(format!(
                "a context of {n_ctx}: beyond {max} positions this model attends to those that an indexer chooses, \
                 which this program does not compute; use --ctx {max} or less"
            )));
        }
        let kv_spec = engine.kv_spec();
        let n_bytes = KvCache::n_bytes(kv_spec, options.cache())?;
        let promise = engine.promise(n_bytes).map_err(|left| {
            let fits = greatest_that(
                |n_ctx| {
                    let smaller = SessionOptions { n_ctx, n_batch: n_batch.min(n_ctx), ..options };
                    // A little later there may be a little less.
                    KvCache::n_bytes(kv_spec, smaller.cache()).is_ok_and(|n_bytes| n_bytes <= left - left / 32)
                },
                n_ctx.min(MAX_DIMENSION),
            );
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
        let cache = KvCache::new(kv_spec, options.cache(), promise)?;
        Ok(Self { engine, cache, ids, attached: Vec::new() })
    }

    /// A sequence of the same dimensions that starts with the first `n` positions of this one, or with as many
    /// of them as [`Sequence::reach`] says: a prompt that several texts begin with is evaluated once. Keys and
    /// values are shared in chunks of [`CHUNK`](gguf_simd::attention::CHUNK) positions; what is left of a chunk
    /// is copied. The fork reserves memory for the positions that it does not share.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer positions, [`Error::Limit`] if there is no memory for those
    /// that are not shared.
    pub fn fork(&self, n: usize) -> Result<Self> {
        if n > self.n_past() {
            let what = format!("a fork after {n} positions of a sequence of {}", self.n_past());
            return Err(Error::usage(what));
        }
        let promise = self.promise(self.cache.fork_bytes(n))?;
        let cache = self.cache.fork(n, promise)?;
        let mut ids = reserved_ids(self.n_ctx())?;
        ids.extend_from_slice(&self.ids[..cache.n_past()]);
        Ok(Self { engine: self.engine, cache, ids, attached: Vec::new() })
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

    /// What it was made for; the batch may be smaller.
    pub fn options(&self) -> SessionOptions {
        SessionOptions { n_ctx: self.n_ctx(), n_batch: self.cache.n_batch(), kv_types: self.kv_types() }
    }

    /// Bytes of the cache, those that it shares included.
    pub fn cache_bytes(&self) -> u64 {
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

    /// Reserves what the next `n` positions need because memory is shared, after a checkpoint if one is due.
    /// Checkpoints are given up where there is no memory for both.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is no memory for it.
    pub(super) fn prepare(&mut self, n: usize) -> Result<()> {
        if self.cache.is_checkpoint_due() {
            self.cache.checkpoint_on_the_way();
        }
        let promise = match self.promise(self.cache.missing_bytes(n)) {
            Err(_) if self.cache.forget_checkpoints() => self.promise(self.cache.missing_bytes(n))?,
            promised => promised?,
        };
        self.cache.prepare(n, promise)
    }

    /// Remembers the windows of layers that see no more than those, and the states of recurrent mixers, so that
    /// [`Sequence::rewind`] can come back to this position; the last few are kept, as far as there is memory. For
    /// models without either, this does nothing: they can go back anywhere.
    pub fn checkpoint(&mut self) {
        self.cache.checkpoint();
    }

    /// Whether there are recurrent mixers, so that checkpoints are the only ways back.
    pub fn has_states(&self) -> bool {
        self.engine.kv_spec().has_states()
    }

    /// In the middle of a step that goes on with `n` positions: takes a checkpoint if one is due and there is
    /// memory for it.
    pub(super) fn checkpoint_if_due(&mut self, n: usize) {
        if self.cache.is_checkpoint_due() && self.prepare(n).is_err() {
            // Without, the positions are prepared as they were when the step began.
            self.cache.forget_checkpoints();
        }
    }

    /// Makes room for the states of recurrent mixers after each of up to `most` positions, so that
    /// [`Session::step_ahead`](super::Session::step_ahead) can be taken back; returns for how many positions there is
    /// room: for all, without such mixers, or for fewer, if there is no memory.
    pub fn reserve_trail(&mut self, most: usize) -> usize {
        let mut n = most;
        loop {
            let (n_bytes, n_rows) = self.cache.trail_bytes(n);
            if n_rows == 0 {
                break;
            }
            let made = self.promise(n_bytes).and_then(|promise| self.cache.reserve_trail(n_rows, promise));
            if made.is_ok() {
                break;
            }
            n = n_rows / 2;
        }
        self.cache.n_trail().min(most)
    }

    /// Guesses, at most `most`, that can follow the next position and be taken back without a trace: no window loses a
    /// position to them, and no checkpoint is due among them.
    pub(super) fn room_ahead(&self, most: usize) -> usize {
        let n_past = self.n_past();
        let in_context = self.n_ctx() - n_past - 1;
        // Guesses never begin a chunk of the cache.
        let in_chunk = CHUNK - 1 - n_past % CHUNK;
        let before_checkpoint = match self.cache.n_before_checkpoint() {
            0 => usize::MAX,
            n => n - 1,
        };
        let room = most.min(in_context).min(in_chunk).min(before_checkpoint).min(self.cache.n_trail());
        // What windows can give back of the past, they can of what comes.
        if self.cache.holds_windows(n_past.saturating_sub(room)) { room } else { 0 }
    }

    /// How many of the first `n` positions [`Sequence::rewind`] would keep.
    pub fn reach(&self, n: usize) -> usize {
        self.cache.reach(n)
    }

    /// Forgets the positions from `n` on, and returns how many are kept: `n` of them if there are as many,
    /// unless the model has layers with a window of which too much has passed, or recurrent mixers. Then it is the
    /// position of a checkpoint or 0, and what lies between has to be evaluated again; or a position of the last step, if
    /// that was one of [`Session::step_ahead`](super::Session::step_ahead).
    ///
    /// The memory of the positions stays reserved. Where it is shared with other sequences, the step that fills
    /// them again reserves other memory, and fails if there is none.
    pub fn rewind(&mut self, n: usize) -> usize {
        let kept = self.cache.rewind(n);
        self.ids.truncate(kept);
        kept
    }

    /// Forgets the ids of positions that a step which was given up cost.
    pub(super) fn forget_abandoned(&mut self) {
        self.ids.truncate(self.cache.n_past());
    }

    /// Forgets all positions.
    pub fn clear(&mut self) {
        self.rewind(0);
    }
}

fn reserved_ids(n_ctx: usize) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    let refused = |_| Error::limit(format!("there is no memory for {n_ctx} tokens; use a smaller --ctx"));
    ids.try_reserve_exact(n_ctx).map_err(refused)?;
    Ok(ids)
}
