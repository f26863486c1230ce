//! Allocation that reports instead of ending the program.

use crate::error::{Error, Result};

/// `n_rows * n_cols` values, all `zero`.
///
/// # Errors
/// [`Error::Limit`] if there is no memory for them.
pub(super) fn zeroed<T: Clone>(zero: T, n_rows: usize, n_cols: usize) -> Result<Vec<T>> {
    let mut values = reserved(n_rows, n_cols)?;
    values.resize(n_rows * n_cols, zero);
    Ok(values)
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
