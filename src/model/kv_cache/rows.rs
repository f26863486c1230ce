//! Rows by position, of which the first may be shared with other sequences.
//!
//! Attention reads a chunk of positions at a time, so chunks can lie anywhere as long as each is in one
//! piece. Shared are whole chunks, which nobody changes any more; the rows after them are the
//! sequence's own and lie one after the other. A fork therefore copies less than a chunk.

use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::{Attention, CHUNK, CacheRows};

use crate::error::Result;
use crate::model::memory::reserved;

/// The rows of one head's keys, or of its values.
#[derive(Debug)]
pub(super) struct StoredRows {
    rows: CacheRows,
    n_ctx: usize,
    /// In the order of the positions, from the first.
    shared: Vec<Shared>,
    /// Those of the positions after the shared ones, with room for `n_ctx`: also without the shared
    /// ones it has to hold all.
    own: Vec<u8>,
}

/// Some whole chunks of rows, up to a position; more may follow that are not looked at.
#[derive(Clone, Debug)]
struct Shared {
    end: usize,
    bytes: Arc<Vec<u8>>,
}

impl StoredRows {
    /// Room for `n_ctx` rows.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn reserved(rows: CacheRows, n_ctx: usize) -> Result<Self> {
        Ok(Self { rows, n_ctx, shared: Vec::new(), own: reserved(n_ctx, rows.row_bytes())? })
    }

    /// What the rows look like.
    pub(super) fn rows(&self) -> CacheRows {
        self.rows
    }

    /// Positions whose rows are shared, or were when the other sequences still were there.
    fn n_shared(&self) -> usize {
        self.shared.last().map_or(0, |shared| shared.end)
    }

    /// Appends the row of a position. Within the room reserved it allocates nothing.
    pub(super) fn push(&mut self, attention: &Attention, row: &[f32]) {
        let end = self.own.len();
        self.own.resize(end + self.rows.row_bytes(), 0);
        attention.store(self.rows, row, &mut self.own[end..]);
    }

    /// Appends rows that are stored already: whole rows, for which there is room.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
    }

    /// The rows of some positions of one chunk.
    ///
    /// # Panics
    /// If they are of several chunks and shared, or not there.
    pub(super) fn get(&self, positions: Range<usize>) -> &[u8] {
        let (mut start, mut bytes) = (self.n_shared(), &self.own);
        if positions.start < start {
            let found = self.shared.partition_point(|shared| shared.end <= positions.start);
            start = if found == 0 { 0 } else { self.shared[found - 1].end };
            bytes = &self.shared[found].bytes;
        }
        &bytes[(positions.start - start) * self.rows.row_bytes()
            ..(positions.end - start) * self.rows.row_bytes()]
    }

    /// Forgets the rows of all positions from `n` on. Allocates nothing.
    pub(super) fn truncate(&mut self, n: usize) {
        let row_bytes = self.rows.row_bytes();
        if let Some(n_own) = n.checked_sub(self.n_shared()) {
            return self.own.truncate(n_own * row_bytes);
        }
        let whole = n / CHUNK * CHUNK;
        let mut own = std::mem::take(&mut self.own);
        own.clear();
        if whole < n {
            own.extend_from_slice(self.get(whole..n));
        }
        self.own = own;
        let n_kept = self.shared.iter().take_while(|shared| shared.end < whole).count();
        self.shared.truncate(if whole == 0 { 0 } else { n_kept + 1 });
        if let Some(last) = self.shared.last_mut() {
            last.end = whole;
        }
    }

    /// A copy of the first `n` rows, which shares the whole chunks among them.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory; the rows are as they were.
    pub(super) fn fork(&mut self, n: usize) -> Result<Self> {
        let mut own = reserved(self.n_ctx, self.rows.row_bytes())?;
        self.share()?;
        if let Some(n_own) = n.checked_sub(self.n_shared()) {
            own.extend_from_slice(&self.own[..n_own * self.rows.row_bytes()]);
        }
        let mut fork = Self { rows: self.rows, n_ctx: self.n_ctx, shared: self.shared.clone(), own };
        if n < fork.n_shared() {
            fork.truncate(n);
        }
        Ok(fork)
    }

    /// Moves its own whole chunks to where they can be shared.
    fn share(&mut self) -> Result<()> {
        let row_bytes = self.rows.row_bytes();
        let whole = self.own.len() / row_bytes / CHUNK * CHUNK;
        if whole == 0 {
            return Ok(());
        }
        let mut rest = reserved(self.n_ctx, row_bytes)?;
        rest.extend_from_slice(&self.own[whole * row_bytes..]);
        let end = self.n_shared() + whole;
        let mut chunks = std::mem::replace(&mut self.own, rest);
        chunks.truncate(whole * row_bytes);
        chunks.shrink_to_fit();
        self.shared.push(Shared { end, bytes: Arc::new(chunks) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gguf_simd::attention::CacheType;

    use super::*;

    const ROW_BYTES: usize = 4;
    const N_CTX: usize = 4 * CHUNK;

    /// Row `i` of text `text`.
    fn row(text: u8, i: usize) -> [u8; ROW_BYTES] {
        [text, (i >> 8) as u8, i as u8, 7]
    }

    fn append(rows: &mut StoredRows, text: u8, positions: Range<usize>) {
        positions.for_each(|i| rows.extend(&row(text, i)));
    }

    fn filled(n: usize) -> StoredRows {
        let rows = CacheRows::new(CacheType::F16, ROW_BYTES / 2).expect("F16 takes any head");
        let mut rows = StoredRows::reserved(rows, N_CTX).expect("memory");
        append(&mut rows, 0, 0..n);
        rows
    }

    /// Asserts that each row of `0..n` is that of the text that `text_of` says.
    fn assert_rows(rows: &StoredRows, n: usize, text_of: impl Fn(usize) -> u8) {
        for start in (0..n).step_by(CHUNK) {
            let positions = start..n.min(start + CHUNK);
            let expected: Vec<u8> = positions.clone().flat_map(|i| row(text_of(i), i)).collect();
            assert_eq!(rows.get(positions), expected, "from {start} of {n}");
        }
    }

    #[test]
    fn forks_go_their_own_ways() {
        for n in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 50] {
            let mut parent = filled(2 * CHUNK + 50);
            let mut child = parent.fork(n).expect("memory");
            append(&mut child, 1, n..N_CTX);
            append(&mut parent, 2, 2 * CHUNK + 50..N_CTX);
            assert_rows(&child, N_CTX, |i| u8::from(i >= n));
            assert_rows(&parent, N_CTX, |i| if i < 2 * CHUNK + 50 { 0 } else { 2 });
            // A fork of what is shared in part, and of what the child added.
            let mut grandchild = child.fork(3 * CHUNK + 9).expect("memory");
            child.truncate(0);
            append(&mut grandchild, 3, 3 * CHUNK + 9..N_CTX);
            assert_rows(&grandchild, N_CTX, |i| if i < 3 * CHUNK + 9 { u8::from(i >= n) } else { 3 });
        }
    }

    #[test]
    fn truncation_reaches_into_what_is_shared() {
        for n in [0, 5, CHUNK, CHUNK + 5, 3 * CHUNK - 1, 3 * CHUNK, 3 * CHUNK + 5] {
            let mut parent = filled(CHUNK);
            let _first = parent.fork(CHUNK).expect("memory");
            append(&mut parent, 0, CHUNK..3 * CHUNK + 20);
            let second = parent.fork(3 * CHUNK + 20).expect("memory");
            parent.truncate(n);
            append(&mut parent, 1, n..N_CTX);
            assert_rows(&parent, N_CTX, |i| u8::from(i >= n));
            assert_rows(&second, 3 * CHUNK + 20, |_| 0);
        }
    }

    #[test]
    fn whole_chunks_are_shared_and_not_copied() {
        let mut parent = filled(2 * CHUNK + 50);
        let child = parent.fork(CHUNK + 30).expect("memory");
        let first = |rows: &StoredRows| rows.get(0..CHUNK).as_ptr();
        let second = |rows: &StoredRows| rows.get(CHUNK..CHUNK + 30).as_ptr();
        assert_eq!(first(&child), first(&parent));
        assert_ne!(second(&child), second(&parent));
        let capacities = [&parent, &child].map(|rows| rows.own.capacity());
        assert!(capacities.iter().all(|&n| n >= N_CTX * ROW_BYTES), "truncation finds room: {capacities:?}");
    }
}
