//! Prefetches ahead of a pass, and evicts behind it.
//!
//! The pieces of all stages, pass after pass, are one endless sequence. Of it a window is in memory: it
//! begins with the stage that is computed, and a helper thread extends it as far as its bytes allow. The
//! helper sleeps in the disk or waits for the pass; it does no arithmetic.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::parts::Parts;
use crate::error::{Error, Result};
use crate::mapped_file::MappedFile;

/// Streams the pieces of a file, in turn, as passes go through it.
#[derive(Debug)]
pub(super) struct Streamer {
    shared: Arc<Shared>,
    helper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    file: Arc<MappedFile>,
    /// At least one.
    pieces: Vec<Range<usize>>,
    /// `[n_stages + 1]`: the pieces that each stage begins with.
    firsts: Vec<usize>,
    /// Bytes that are in memory at the same time, at most, unless a stage needs more.
    window: usize,
    state: Mutex<State>,
    /// The pass has come further, or all is over.
    moved: Condvar,
    /// What the pass waits for is there.
    loaded: Condvar,
}

/// Where everybody is. Piece `i` of pass `p` has the number `p * n_pieces + i`.
#[derive(Debug, Default)]
struct State {
    pass: u64,
    stage: usize,
    /// The pieces that the stage needs.
    needed: Range<u64>,
    /// The pieces that are in memory.
    held: Range<u64>,
    held_bytes: usize,
    /// No more is read, because the streamer goes or the helper has gone.
    over: bool,
}

impl Streamer {
    /// Starts to read the pieces of `parts`, which has some, and returns when the first is there.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses to start a thread.
    pub(super) fn new(file: Arc<MappedFile>, parts: &Parts) -> Result<Self> {
        assert!(!parts.pieces.is_empty(), "nothing to stream");
        let shared = Arc::new(Shared {
            file,
            pieces: parts.pieces.clone(),
            firsts: parts.firsts.clone(),
            window: parts.window,
            state: Mutex::default(),
            moved: Condvar::new(),
            loaded: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("streamer".into());
        let helper = thread
            .spawn(move || theirs.serve())
            .map_err(|e| Error::limit(format!("cannot start the thread that streams the weights ({e})")))?;
        // What a thread allocates as it starts is allocated when it has read something.
        let mut state = shared.lock();
        while state.held.is_empty() && !state.over {
            state = shared.loaded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        Ok(Self { shared, helper: Some(helper) })
    }

    /// Returns when all pieces of `stage`, which a pass is about to read, are in memory, and evicts those of the
    /// stages before. Passes that overlap are served in the order of their announcements: none waits
    /// for ever, but they read more than one after the other would.
    pub(super) fn before(&self, stage: usize) {
        let shared = &*self.shared;
        let mut state = shared.lock();
        if stage < state.stage {
            state.pass += 1;
        }
        state.stage = stage;
        let number = |piece: usize| state.pass * shared.pieces.len() as u64 + piece as u64;
        let needed = number(shared.firsts[stage])..number(shared.firsts[stage + 1]);
        state.needed = needed.clone();
        shared.moved.notify_one();
        while !needed.is_empty() && state.held.end < needed.end && state.needed == needed && !state.over {
            state = shared.loaded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Streamer {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(helper) = self.helper.take() {
            // What it leaves behind is in order, even after a panic.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn piece(&self, number: u64) -> Range<usize> {
        self.pieces[(number % self.pieces.len() as u64) as usize].clone()
    }

    fn end(&self) {
        self.lock().over = true;
        self.moved.notify_all();
        self.loaded.notify_all();
    }

    /// The helper's life.
    fn serve(&self) {
        /// Wakes all waiters when the helper ends, for whatever reason.
        struct Leaving<'a>(&'a Shared);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        let leaving = Leaving(self);
        let mut state = leaving.0.lock();
        while !state.over {
            if state.held.start < state.needed.start {
                state = self.evict_behind(state);
            } else if self.may_read(&state) {
                state = self.read(state);
            } else {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(state);
    }

    /// Evicts the first piece held, which the pass is done with; skips it if it never came.
    fn evict_behind<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.held.is_empty() {
            state.held = state.needed.start..state.needed.start;
            return state;
        }
        let piece = self.piece(state.held.start);
        state.held.start += 1;
        state.held_bytes -= piece.len();
        drop(state);
        self.file.release(piece);
        self.lock()
    }

    /// Whether the next piece is needed now or has room.
    fn may_read(&self, state: &State) -> bool {
        let n_held = state.held.end - state.held.start;
        let next = self.piece(state.held.end).len();
        state.held.end < state.needed.end
            || (n_held < self.pieces.len() as u64 && state.held_bytes + next <= self.window)
    }

    /// Reads the next piece.
    fn read<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let piece = self.piece(state.held.end);
        drop(state);
        // Whatever the system does not read now, its use reads, or says why it cannot.
        let _ = self.file.populate_range(piece.clone());
        let mut state = self.lock();
        state.held.end += 1;
        state.held_bytes += piece.len();
        if state.held.end >= state.needed.end {
            self.loaded.notify_all();
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const PIECE: usize = 64 << 10;

    /// A mapped file of 20 pieces, each filled with its number.
    fn file() -> Arc<MappedFile> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        (0..20).for_each(|i| file.write_all(&[i; PIECE]).unwrap());
        // The mapping outlives the name.
        Arc::new(MappedFile::open(file.path()).unwrap())
    }

    /// Five stages that need 3, 0, 4, 2 and 1 of the pieces of even number, and room for 6.
    fn parts() -> Parts {
        let pieces = (0..10).map(|i| 2 * i * PIECE..(2 * i + 1) * PIECE).collect();
        Parts { pinned: Vec::new(), pieces, firsts: vec![0, 3, 3, 7, 9, 10], window: 6 * PIECE }
    }

    /// Announces a stage and checks that its pieces are there.
    fn visit(streamer: &Streamer, stage: usize) {
        streamer.before(stage);
        let shared = &*streamer.shared;
        let state = shared.lock();
        assert!(state.held.end >= state.needed.end || state.needed.is_empty(), "{stage}: {state:?}");
        assert!(state.held_bytes <= shared.window, "{stage}: {state:?}");
        drop(state);
        for number in shared.firsts[stage]..shared.firsts[stage + 1] {
            let bytes = &shared.file.bytes()[shared.pieces[number].clone()];
            assert!(bytes.iter().all(|&byte| byte == 2 * number as u8), "piece {number}");
        }
    }

    #[test]
    fn every_stage_of_every_pass_finds_its_pieces() {
        let streamer = Streamer::new(file(), &parts()).unwrap();
        for _ in 0..50 {
            (0..5).for_each(|stage| visit(&streamer, stage));
        }
    }

    #[test]
    fn passes_may_end_early_skip_stages_and_repeat_one() {
        let streamer = Streamer::new(file(), &parts()).unwrap();
        for stage in [0, 1, 2, 0, 2, 4, 4, 0, 0, 4, 3, 2, 1, 0, 1, 1, 0, 3, 3, 0] {
            visit(&streamer, stage);
        }
        assert!(streamer.shared.lock().pass >= 7);
    }

    #[test]
    fn what_is_behind_a_pass_is_evicted() {
        let streamer = Streamer::new(file(), &parts()).unwrap();
        for stage in [0, 2, 3, 4, 0, 2, 3] {
            visit(&streamer, stage);
        }
        // The helper extends the window while there is room, and then holds nothing behind.
        let enough = || {
            let state = streamer.shared.lock();
            state.held.start == state.needed.start && state.held_bytes == 6 * PIECE
        };
        while !enough() {
            std::thread::yield_now();
        }
        assert_eq!(streamer.shared.lock().held, 17..23);
    }

    #[test]
    fn passes_that_overlap_end_all_the_same() {
        let streamer = Streamer::new(file(), &parts()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..100).for_each(|_| (0..5).for_each(|stage| streamer.before(stage))));
            }
        });
    }
}
