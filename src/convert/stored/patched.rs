//! Tensors of a base model of which an adapter has some rows anew.

use std::collections::BTreeMap;

use super::adapted::RowChange;
use super::numbers::{Layout, Numbers};
use super::{Scratch, Stored};
use crate::checkpoint::NewRows;
use crate::error::{Error, Result};

/// The rows that take the place of a matrix's own.
#[derive(Debug)]
pub(super) struct Patched<'a> {
    /// Where the rows that are new lie among them.
    place_of: BTreeMap<usize, usize>,
    /// `[n_new, n_in]`
    new: Numbers<'a>,
}

impl<'a> Patched<'a> {
    /// `rows` of the tensor `base`, called `name`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the base has no such rows.
    pub(super) fn new(name: &str, base: &Stored<'a>, rows: &NewRows<'a>) -> Result<Self> {
        let (n_new, n_in) = (rows.values.shape[0], rows.values.shape[1]);
        let fits = matches!(*base.shape(), [n_rows, n_cols]
            if n_cols == n_in && rows.indices.iter().all(|&row| row < n_rows));
        if !fits {
            let what = format!(
                "the adapter has rows {:?} of {n_in} elements anew, but {} in the base has shape {:?}: it was trained on \
                 another model",
                rows.indices,
                name.escape_debug(),
                base.shape()
            );
            return Err(Error::malformed(rows.values.path(), what));
        }
        let place_of = rows.indices.iter().enumerate().map(|(place, &row)| (row, place)).collect();
        Ok(Self { place_of, new: Numbers::new(name, rows.values, Layout::default(), [n_new, n_in])? })
    }
}

impl RowChange for Patched<'_> {
    fn change(
        &self,
        _base: &Stored<'_>,
        first: usize,
        rows: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let n_in = self.new.n_cols();
        for (&row, &place) in self.place_of.range(first..first + rows.len() / n_in) {
            self.new.read(place, &mut rows[(row - first) * n_in..][..n_in], &mut scratch.bytes)?;
        }
        Ok(())
    }
}
