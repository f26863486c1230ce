//! Memory that caches have reserved and not filled: the system does not count it as taken yet, so it
//! would be given away several times.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts the bytes of the chunks of some caches: those promised, which no step has filled yet, and those
/// held. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Promises(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    promised: AtomicU64,
    held: AtomicU64,
}

/// Some bytes on the account of [`Promises`], taken off it when this is dropped.
#[derive(Debug)]
pub struct Promise {
    promises: Promises,
    n_bytes: u64,
    is_kept: bool,
}

impl Promises {
    /// Promises `n_bytes`, whether there is memory for them or not; `None` if they cannot be counted.
    pub fn take(&self, n_bytes: u64) -> Option<Promise> {
        let add = |promised: u64| promised.checked_add(n_bytes);
        self.0.promised.try_update(Relaxed, Relaxed, add).ok()?;
        Some(Promise { promises: self.clone(), n_bytes, is_kept: false })
    }

    /// Bytes promised and not filled. A chunk counts as a whole until its last position is filled.
    pub fn promised_bytes(&self) -> u64 {
        self.0.promised.load(Relaxed)
    }

    /// Bytes of chunks that were filled, which the system counts as taken.
    pub fn held_bytes(&self) -> u64 {
        self.0.held.load(Relaxed)
    }
}

impl Promise {
    /// Bytes promised or held.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Takes `n_bytes` of it for something of their own.
    ///
    /// # Panics
    /// If it has fewer.
    pub(in crate::model::state) fn split(&mut self, n_bytes: u64) -> Self {
        assert!(n_bytes <= self.n_bytes, "{n_bytes} of {} bytes promised", self.n_bytes);
        self.n_bytes -= n_bytes;
        Self { promises: self.promises.clone(), n_bytes, is_kept: self.is_kept }
    }

    /// Counts the bytes as held from here on.
    pub(in crate::model::state) fn keep(&mut self) {
        if !self.is_kept {
            self.is_kept = true;
            self.promises.0.held.fetch_add(self.n_bytes, Relaxed);
            self.promises.0.promised.fetch_sub(self.n_bytes, Relaxed);
        }
    }

    pub(in crate::model::state) fn is_kept(&self) -> bool {
        self.is_kept
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let counts = &self.promises.0;
        let count = if self.is_kept { &counts.held } else { &counts.promised };
        count.fetch_sub(self.n_bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_promised_or_held_until_it_is_given_back() {
        let promises = Promises::default();
        let counts = || (promises.promised_bytes(), promises.held_bytes());
        let mut whole = promises.take(100).unwrap();
        let mut part = whole.split(30);
        assert_eq!(counts(), (100, 0));
        part.keep();
        part.keep();
        assert_eq!(counts(), (70, 30));
        drop(whole);
        assert_eq!(counts(), (0, 30));
        assert!(promises.take(u64::MAX).is_some());
        let much = promises.take(u64::MAX);
        assert!(promises.take(1).is_none(), "it would overflow");
        drop((part, much));
        assert_eq!(counts(), (0, 0));
    }
}
