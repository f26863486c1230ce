//! What recurrent mixers remember: equally many floats for each sequence, however long its text is.
//!
//! The states of all layers after a position lie together. Checkpoints and sequences share them whole and
//! read-only; a sequence that goes on from a shared state gets a copy first, before the step, so that the step
//! itself cannot fail. A state belongs to one position: unlike keys and values it cannot be cut, and there is no
//! way back to a position whose state was not kept.

use std::io::{self, Read, Write};
use std::mem;
use std::sync::Arc;

use super::promises::Promise;
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
    /// A state that is no longer in use.
    spare: Option<Arc<State>>,
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
        Ok(Self { starts: starts.into(), state, is_empty: true, spare: None })
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

    fn values_mut(&mut self) -> &mut [f32] {
        &mut Arc::get_mut(&mut self.state).expect("a state of its own, prepared before it is written").values
    }

    /// Begins to append positions, for which it was prepared.
    ///
    /// # Panics
    /// If the state is shared.
    pub(super) fn begin(&mut self) {
        if mem::take(&mut self.is_empty) {
            self.values_mut().fill(0.0);
        }
    }

    /// What a layer remembers, to be written to.
    ///
    /// # Panics
    /// If the state is shared.
    pub(super) fn layer_mut(&mut self, layer: usize) -> &mut [f32] {
        let part = self.starts[layer]..self.starts[layer + 1];
        &mut self.values_mut()[part]
    }

    /// The state, to come back to; `None` if no layer keeps anything.
    pub(super) fn share(&self) -> Option<Arc<State>> {
        self.is_any().then(|| Arc::clone(&self.state))
    }

    /// Goes on from a state that was shared.
    pub(super) fn restore(&mut self, state: &Arc<State>) {
        let before = mem::replace(&mut self.state, Arc::clone(state));
        self.is_empty = false;
        self.give_back(before);
    }

    /// Goes on from no text.
    pub(super) fn clear(&mut self) {
        self.is_empty = true;
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
        Ok(Self { starts: Arc::clone(&self.starts), state: own, is_empty: state.is_none(), spare: None })
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
