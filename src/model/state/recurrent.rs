//! What recurrent mixers remember: equally many floats for each sequence, however long its text is.
//!
//! The states of all layers after a position lie together. Checkpoints and sequences share them whole and
//! read-only; a sequence that goes on from a shared state gets a copy first, before the step, so that the step
//! itself cannot fail. A state belongs to one position: unlike keys and values it cannot be cut, and there is no
//! way back to a position whose state was not kept, in a checkpoint or on a [`Trail`].

use std::io::{self, Read, Write};
use std::mem;
use std::sync::Arc;

use super::promises::Promise;
use super::trail::{LayerState, Trail, n_rows};
use crate::error::Result;
use crate::model::memory::reserved;

/// Floats written or read at a time.
const BUFFER_LEN: usize = 4096;

/// The states of all layers after one position.
#[derive(Debug)]
pub(super) struct State {
    values: Vec<f32>,
    /// Taken off the account when this is dropped.
    _promise: Promise,
}

/// The states of a sequence that goes on.
#[derive(Debug)]
pub(super) struct Recurrent {
    /// `[n_layer + 1]`: where the floats of each layer begin.
    starts: Arc<[usize]>,
    state: Arc<State>,
    /// Whether the text has no positions: the state then counts as zeros, whatever it holds.
    is_empty: bool,
    /// Whether a step that was given up has changed the state: it then is that of no position.
    is_spoiled: bool,
    /// A state that is no longer in use.
    spare: Option<Arc<State>>,
    /// What the last steps have left behind.
    trail: Option<Trail>,
    /// Whether the next step leaves something there.
    leaves_trail: bool,
}

/// Bytes of the states of layers that keep so many floats each, [`u64::MAX`] if they cannot be counted.
pub(super) fn state_bytes(lens: &[usize]) -> u64 {
    let n = lens.iter().fold(0u64, |sum, &len| sum.saturating_add(len as u64));
    n.saturating_mul(size_of::<f32>() as u64)
}

impl State {
    /// Zeros, for which `promise` has the bytes.
    fn new(n: usize, mut promise: Promise) -> Result<Self> {
        let mut values = reserved(n, 1)?;
        values.resize(n, 0.0);
        // The zeros were written: the system counts the memory as taken.
        promise.keep();
        Ok(Self { values, _promise: promise })
    }
}

impl Recurrent {
    /// The states of an empty text in layers that keep `lens: [n_layer]` floats; `promise` has the bytes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(lens: &[usize], promise: &mut Promise) -> Result<Self> {
        let mut starts = vec![0];
        starts.extend(lens.iter().scan(0usize, |end, &len| {
            *end = end.saturating_add(len);
            Some(*end)
        }));
        let n = starts[lens.len()];
        let state = Arc::new(State::new(n, promise.split(state_bytes(&[n])))?);
        Ok(Self::of(starts.into(), state, true))
    }

    fn of(starts: Arc<[usize]>, state: Arc<State>, is_empty: bool) -> Self {
        Self { starts, state, is_empty, is_spoiled: false, spare: None, trail: None, leaves_trail: false }
    }

    /// Whether any layer keeps something.
    pub(super) fn is_any(&self) -> bool {
        !self.state.values.is_empty()
    }

    /// Bytes of a state.
    pub(super) fn n_bytes(&self) -> u64 {
        size_of_val(self.state.values.as_slice()) as u64
    }

    fn is_own(&self) -> bool {
        Arc::strong_count(&self.state) == 1
    }

    /// Bytes that [`Recurrent::prepare`] takes.
    pub(super) fn missing_bytes(&self) -> u64 {
        if self.is_own() || self.spare.is_some() { 0 } else { self.n_bytes() }
    }

    /// Sees to it that the state can be written to; `promise` has the bytes that are missing.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn prepare(&mut self, promise: &mut Promise) -> Result<()> {
        if self.is_own() {
            return Ok(());
        }
        let mut own = match self.spare.take() {
            Some(spare) => spare,
            None => self.allocate(promise)?,
        };
        if !self.is_empty {
            Arc::get_mut(&mut own).expect("a spare is not shared").values.copy_from_slice(&self.state.values);
        }
        self.state = own;
        Ok(())
    }

    fn allocate(&self, promise: &mut Promise) -> Result<Arc<State>> {
        Ok(Arc::new(State::new(self.state.values.len(), promise.split(self.n_bytes()))?))
    }

    /// States that a trail for `most` positions would hold: no more than there are already.
    pub(super) fn trail_rows(&self, most: usize) -> usize {
        let n_rows = n_rows(self.n_bytes(), most);
        if self.trail.as_ref().is_some_and(|trail| trail.n_rows() >= n_rows) { 0 } else { n_rows }
    }

    /// Makes room for a trail of `n_rows` states; `promise` has the bytes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn reserve_trail(&mut self, n_rows: usize, promise: Promise) -> Result<()> {
        self.trail = None;
        self.trail = Some(Trail::new(n_rows, self.state.values.len(), promise)?);
        Ok(())
    }

    /// States that the trail has room for.
    pub(super) fn n_trail(&self) -> usize {
        self.trail.as_ref().map_or(0, Trail::n_rows)
    }

    /// Lets the next step leave the states after each of its positions behind.
    pub(super) fn leave_trail(&mut self) {
        self.leaves_trail = true;
    }

    /// Forgets what steps have left behind.
    pub(super) fn forget_trail(&mut self) {
        self.trail.iter_mut().for_each(Trail::clear);
    }

    /// Whether the trail leads back to position `n`.
    pub(super) fn has_trail_to(&self, n: usize) -> bool {
        self.is_own() && self.trail.as_ref().is_some_and(|trail| trail.has(n))
    }

    /// Goes back to position `n`, to which the trail leads.
    pub(super) fn go_back(&mut self, n: usize) {
        let state = Arc::get_mut(&mut self.state).expect("a state of its own: the trail leads back");
        self.trail.iter_mut().for_each(|trail| trail.restore(n, &mut state.values));
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut Arc::get_mut(&mut self.state).expect("a state of its own, prepared before it is written").values
    }

    /// Begins to append `n` positions after `n_past`, for which it was prepared.
    ///
    /// # Panics
    /// If the state is shared.
    pub(super) fn begin(&mut self, n_past: usize, n: usize) {
        if mem::take(&mut self.is_empty) {
            self.values_mut().fill(0.0);
        }
        let leaves_trail = mem::take(&mut self.leaves_trail);
        match &mut self.trail {
            Some(trail) if leaves_trail => trail.begin(n_past, n, &self.state.values),
            _ => self.forget_trail(),
        }
    }

    /// Counts the state as that of no position.
    pub(super) fn spoil(&mut self) {
        self.is_spoiled = true;
        self.forget_trail();
    }

    /// Whether the state is that of no position.
    pub(super) fn is_spoiled(&self) -> bool {
        self.is_spoiled
    }

    /// What a layer remembers, to be written to.
    ///
    /// # Panics
    /// If the state is shared.
    pub(super) fn layer_mut(&mut self, layer: usize) -> LayerState<'_> {
        let part = self.starts[layer]..self.starts[layer + 1];
        let state = Arc::get_mut(&mut self.state).expect("a state of its own, prepared before it is written");
        LayerState::new(&mut state.values, self.trail.as_mut(), part)
    }

    /// The state, to come back to; `None` if no layer keeps anything.
    pub(super) fn share(&self) -> Option<Arc<State>> {
        self.is_any().then(|| Arc::clone(&self.state))
    }

    /// Goes on from a state that was shared.
    pub(super) fn restore(&mut self, state: &Arc<State>) {
        let before = mem::replace(&mut self.state, Arc::clone(state));
        (self.is_empty, self.is_spoiled) = (false, false);
        self.forget_trail();
        self.give_back(before);
    }

    /// Goes on from no text.
    pub(super) fn clear(&mut self) {
        (self.is_empty, self.is_spoiled) = (true, false);
        self.forget_trail();
    }

    /// Keeps a state as a spare, unless it is shared or there is one.
    pub(super) fn give_back(&mut self, state: Arc<State>) {
        if self.spare.is_none() && Arc::strong_count(&state) == 1 {
            self.spare = Some(state);
        }
    }

    /// A copy that goes on from `state`, or from no text; `promise` has the bytes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn fork(&self, state: Option<&Arc<State>>, promise: &mut Promise) -> Result<Self> {
        let mut own = self.allocate(promise)?;
        if let Some(state) = state {
            Arc::get_mut(&mut own).expect("it is new").values.copy_from_slice(&state.values);
        }
        Ok(Self::of(Arc::clone(&self.starts), own, state.is_none()))
    }

    /// Reads a state that was written into one that is not shared.
    ///
    /// # Errors
    /// What `input` says.
    pub(super) fn read(&mut self, input: &mut impl Read) -> io::Result<()> {
        self.is_empty = false;
        let mut bytes = [0; BUFFER_LEN * size_of::<f32>()];
        for values in self.values_mut().chunks_mut(BUFFER_LEN) {
            let bytes = &mut bytes[..size_of_val(values)];
            input.read_exact(bytes)?;
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }
}

impl State {
    /// Writes it, little-endian.
    ///
    /// # Errors
    /// What `out` says.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut bytes = [0; BUFFER_LEN * size_of::<f32>()];
        self.values.chunks(BUFFER_LEN).try_for_each(|values| {
            let bytes = &mut bytes[..size_of_val(values)];
            for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                *bytes = value.to_le_bytes();
            }
            out.write_all(bytes)
        })
    }

    /// Whether all of it are finite numbers.
    pub(super) fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }
}
