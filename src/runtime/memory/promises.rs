//! Memory that sequences have reserved and not filled: the system does not count it as taken yet, so it
//! would be given away several times.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::{available_bytes, check_fits_into};
use crate::error::Result;

/// What an engine has promised to its sequences, in bytes.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Promises(AtomicU64);

/// Room for some positions of a sequence; what is left of it is given back when this is dropped.
#[derive(Debug)]
pub(in crate::runtime) struct Promise<'e> {
    promises: &'e Promises,
    position_bytes: u64,
    n_left: u64,
}

impl Promises {
    /// Promises `n` positions of `position_bytes`.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if they do not fit into what is available beside the promises there are,
    /// naming the greatest number that does.
    pub(in crate::runtime) fn take(&self, position_bytes: usize, n: usize) -> Result<Promise<'_>> {
        self.take_of(position_bytes, n, available_bytes())
    }

    fn take_of(&self, position_bytes: usize, n: usize, available: Option<u64>) -> Result<Promise<'_>> {
        let promise = Promise { promises: self, position_bytes: position_bytes as u64, n_left: n as u64 };
        // Whoever asks at the same time sees this promise already; an error gives it back.
        let before = self.0.fetch_add(promise.bytes(), Relaxed);
        check_fits_into(position_bytes, n, available.map(|bytes| bytes.saturating_sub(before)))?;
        Ok(promise)
    }
}

impl Promise<'_> {
    /// Notes that at most `n_left` positions are not filled yet.
    pub(in crate::runtime) fn lower(&mut self, n_left: usize) {
        let before = self.bytes();
        self.n_left = self.n_left.min(n_left as u64);
        self.promises.0.fetch_sub(before - self.bytes(), Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.position_bytes.saturating_mul(self.n_left)
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.promises.0.fetch_sub(self.bytes(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_not_promised_again() {
        let promises = Promises::default();
        let take = |n| promises.take_of(10, n, Some(1000));
        let mut first = take(60).unwrap();
        let message = take(41).unwrap_err().to_string();
        assert!(message.contains("--ctx 40 or less"), "{message}");
        let second = take(40).unwrap();
        drop(second);
        // What is filled the system counts itself.
        first.lower(20);
        first.lower(50);
        let third = take(80).unwrap();
        assert!(take(1).is_err());
        drop((first, third));
        take(100).unwrap();
        assert!(take(usize::MAX).is_err());
        take(100).unwrap();
    }
}
