//! A conversation with a model: one sequence and the buffers of its steps.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::engine::Engine;
use super::evaluator::Evaluator;
use super::part::{Logits, Part};
use super::sequence::Sequence;
use super::sequence_file::End;
use super::session_options::SessionOptions;
use crate::error::Result;
use crate::model::{KvTypes, PhaseTimes};

/// A [`Sequence`] with an [`Evaluator`] of its own. After the first step with [`Logits::All`] of a
/// length, steps allocate nothing; others never do.
#[derive(Debug)]
pub struct Session<'e> {
    evaluator: Evaluator<'e>,
    sequence: Sequence<'e>,
}

impl<'e> Session<'e> {
    /// Makes a session, and reserves all it needs.
    ///
    /// # Errors
    /// As [`Evaluator::new`] and [`Sequence::new`].
    pub fn new(engine: &'e Engine, options: SessionOptions) -> Result<Self> {
        engine.check_session(options)?;
        let evaluator = Evaluator::new(engine, options)?;
        Ok(Self { evaluator, sequence: Sequence::new(engine, options)? })
    }

    /// Makes a session that goes on from what `path` holds ([`Sequence::save`]).
    ///
    /// # Errors
    /// As [`Evaluator::new`] and [`Sequence::load`].
    pub fn load(engine: &'e Engine, options: SessionOptions, path: &Path) -> Result<Self> {
        engine.check_session(options)?;
        let evaluator = Evaluator::new(engine, options)?;
        Ok(Self { evaluator, sequence: Sequence::load(engine, options, path)? })
    }

    /// As [`Session::load`], from a file that was opened from `path`.
    pub(super) fn read(
        engine: &'e Engine,
        options: SessionOptions,
        path: &Path,
        file: &File,
    ) -> Result<(Self, End)> {
        engine.check_session(options)?;
        let evaluator = Evaluator::new(engine, options)?;
        let (sequence, end) = Sequence::read_file(engine, options, path, file)?;
        Ok((Self { evaluator, sequence }, end))
    }

    /// Evaluates `ids` at the positions that follow, in batches, and returns the logits `wanted`:
    /// `[n_wanted, n_vocab]`.
    ///
    /// # Errors
    /// Before anything is computed: [`crate::Error::Limit`] if the context has no room for the ids or
    /// memory none for the logits, [`crate::Error::Usage`] for an id that is not below `n_vocab`, or for
    /// no ids when the last one's logits are wanted.
    pub fn step(&mut self, ids: &[u32], wanted: Logits) -> Result<&[f32]> {
        let mut parts = [Part::new(&mut self.sequence, ids, wanted)];
        Ok(self.evaluator.step(&mut parts)?.of(0))
    }

    /// As [`Session::step`], given up as [`Evaluator::step_until`] is.
    ///
    /// # Errors
    /// As there.
    pub fn step_until(&mut self, ids: &[u32], wanted: Logits, stop: &AtomicBool) -> Result<&[f32]> {
        let mut parts = [Part::new(&mut self.sequence, ids, wanted)];
        Ok(self.evaluator.step_until(&mut parts, stop)?.of(0))
    }

    /// As [`Session::step`], after which [`Session::rewind`] goes back to each of the last positions that
    /// [`Session::reserve_trail`] made room for, those of several such steps on end if they are no longer. The ids are at
    /// most a batch.
    ///
    /// # Errors
    /// As there.
    pub fn step_ahead(&mut self, ids: &[u32], wanted: Logits) -> Result<&[f32]> {
        let mut parts = [Part::new(&mut self.sequence, ids, wanted).with_ways_back()];
        Ok(self.evaluator.step(&mut parts)?.of(0))
    }

    /// Forgets the ways back that [`Session::step_ahead`] made: the next such step makes new ones.
    pub(super) fn forget_trail(&mut self) {
        self.sequence.cache.forget_trail();
    }

    /// As [`Sequence::reserve_trail`].
    pub fn reserve_trail(&mut self, most: usize) -> usize {
        self.sequence.reserve_trail(most)
    }

    /// What the last [`Session::step`] returned.
    pub fn last_logits(&self) -> &[f32] {
        self.evaluator.last_logits()
    }

    /// As [`Evaluator::start_profile`].
    pub fn start_profile(&mut self) {
        self.evaluator.start_profile();
    }

    /// As [`Evaluator::end_profile`].
    pub fn end_profile(&mut self) -> Option<PhaseTimes> {
        self.evaluator.end_profile()
    }

    /// The engine.
    pub fn engine(&self) -> &'e Engine {
        self.evaluator.engine()
    }

    /// The sequence.
    pub fn sequence(&self) -> &Sequence<'e> {
        &self.sequence
    }

    /// Positions that are filled.
    pub fn n_past(&self) -> usize {
        self.sequence.n_past()
    }

    /// Positions there is room for.
    pub fn n_ctx(&self) -> usize {
        self.sequence.n_ctx()
    }

    /// What it was made for; the batch may be smaller.
    pub fn options(&self) -> SessionOptions {
        self.evaluator.options()
    }

    /// Tokens evaluated together.
    pub fn n_batch(&self) -> usize {
        self.evaluator.options().n_batch
    }

    /// Bytes reserved for the cache.
    pub fn cache_bytes(&self) -> u64 {
        self.sequence.cache_bytes()
    }

    /// Bytes reserved for positions that are not filled.
    pub fn free_bytes(&self) -> u64 {
        self.sequence.unfilled_bytes()
    }

    /// The types of cached keys and values.
    pub fn kv_types(&self) -> KvTypes {
        self.sequence.kv_types()
    }

    /// As [`Sequence::checkpoint`].
    pub fn checkpoint(&mut self) {
        self.sequence.checkpoint();
    }

    /// As [`Sequence::rewind`].
    pub fn rewind(&mut self, n: usize) -> usize {
        self.sequence.rewind(n)
    }

    /// Forgets all positions.
    pub fn clear(&mut self) {
        self.sequence.clear();
    }
}
