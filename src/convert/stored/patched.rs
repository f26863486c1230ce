//! Tensors of a base model of which an adapter has some rows anew.

use std::collections::BTreeMap;
use std::path::Path;

use super::numbers::{Layout, Numbers};
use super::{Levels, Packed, Scratch, Step, Stored};
use crate::checkpoint::NewRows;
use crate::error::{Error, Result};

/// A matrix and the rows that take the place of its own.
#[derive(Debug)]
pub(super) struct Patched<'a> {
    base: Stored<'a>,
    shape: [usize; 2],
    /// Where the rows that are new lie among them.
    place_of: BTreeMap<usize, usize>,
    /// `[n_new, n_in]`
    new: Numbers<'a>,
}

impl<'a> Patched<'a> {
    /// The tensor `base`, called `name`, with `rows`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the base has no such rows.
    pub(super) fn new(name: &str, base: Stored<'a>, rows: &NewRows<'a>) -> Result<Self> {
        let (n_new, n_in) = (rows.values.shape[0], rows.values.shape[1]);
        let shape = match *base.shape() {
            [n_rows, n_cols] if n_cols == n_in && rows.indices.iter().all(|&row| row < n_rows) => {
                [n_rows, n_in]
            }
            _ => {
                let what = format!(
                    "the adapter has rows {:?} of {n_in} elements anew, but {} in the base has shape {:?}: it was trained on \
                     another model",
                    rows.indices,
                    name.escape_debug(),
                    base.shape()
                );
                return Err(Error::malformed(rows.values.path(), what));
            }
        };
        let place_of = rows.indices.iter().enumerate().map(|(place, &row)| (row, place)).collect();
        Ok(Self {
            shape,
            base,
            place_of,
            new: Numbers::new(name, rows.values, Layout::default(), [n_new, n_in])?,
        })
    }
}

impl Packed for Patched<'_> {
    fn scheme(&self) -> &'static str {
        self.base.type_name()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.base.path()
    }

    fn n_bytes(&self) -> u64 {
        self.base.bytes_of(self.shape.iter().product())
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let n_in = self.shape[1];
        self.base.read(first * n_in, out, &mut Vec::new(), scratch)?;
        for (&row, &place) in self.place_of.range(first..first + out.len() / n_in) {
            self.new.read(place, &mut out[(row - first) * n_in..][..n_in], &mut scratch.bytes)?;
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }

    fn is_quantised(&self) -> bool {
        self.base.is_quantised()
    }
}
