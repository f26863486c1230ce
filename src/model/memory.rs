//! Allocation that reports instead of ending the program.

use crate::error::{Error, Result};

/// Makes the buffers of a step, or only counts what they would take: one description of them serves both,
/// so that a count cannot differ from what is then allocated.
#[derive(Debug)]
pub(super) struct Buffers {
    counts_only: bool,
    n_bytes: u64,
}

impl Buffers {
    /// Makes buffers.
    pub(super) fn real() -> Self {
        Self { counts_only: false, n_bytes: 0 }
    }

    /// Counts the bytes that `make` asks for; it gets empty buffers.
    ///
    /// # Errors
    /// What `make` gives.
    pub(super) fn count<T>(make: impl FnOnce(&mut Self) -> Result<T>) -> Result<u64> {
        let mut buffers = Self { counts_only: true, n_bytes: 0 };
        make(&mut buffers)?;
        Ok(buffers.n_bytes)
    }

    /// `n_rows * n_cols` values, all `zero`.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is no memory for them.
    pub(super) fn zeroed<T: Clone>(&mut self, zero: T, n_rows: usize, n_cols: usize) -> Result<Vec<T>> {
        let mut values = self.reserved(n_rows, n_cols)?;
        if !self.counts_only {
            values.resize(n_rows * n_cols, zero);
        }
        Ok(values)
    }

    /// Room for `n_rows * n_cols` values.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is no memory for them.
    pub(super) fn reserved<T>(&mut self, n_rows: usize, n_cols: usize) -> Result<Vec<T>> {
        let n_bytes = (n_rows as u64).saturating_mul(n_cols as u64).saturating_mul(size_of::<T>() as u64);
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        if self.counts_only { Ok(Vec::new()) } else { reserved(n_rows, n_cols) }
    }
}

/// Room for `n_rows * n_cols` values.
///
/// # Errors
/// [`Error::Limit`] if there is no memory for them.
pub(super) fn reserved<T>(n_rows: usize, n_cols: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let n = n_rows.checked_mul(n_cols);
    if n.is_none_or(|n| values.try_reserve_exact(n).is_err()) {
        let bytes = n_rows.saturating_mul(n_cols).saturating_mul(size_of::<T>());
        return Err(Error::limit(format!(
            "the system refuses a buffer of {bytes} bytes ({n_rows} rows of {n_cols}); use a smaller --batch or --ctx"
        )));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_what_the_buffers_take() {
        let make = |buffers: &mut Buffers| {
            let zeros = buffers.zeroed(0u32, 3, 5)?;
            Ok((zeros, buffers.reserved::<u16>(7, 1)?))
        };
        let (zeros, room) = make(&mut Buffers::real()).unwrap();
        assert_eq!((zeros.len(), room.capacity()), (15, 7));
        assert_eq!(Buffers::count(make).unwrap(), 15 * 4 + 7 * 2);
        let absurd = |buffers: &mut Buffers| buffers.zeroed(0u64, usize::MAX, usize::MAX);
        assert_eq!(Buffers::count(absurd).unwrap(), u64::MAX, "and nothing is allocated");
    }
}
