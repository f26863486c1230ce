//! Tensors of a base model that an adapter changes.

use std::fmt::Debug;
use std::path::Path;

use super::{Levels, Packed, Scratch, Step, Stored};
use crate::error::Result;

/// What an adapter does to the rows of a tensor.
pub(super) trait RowChange: Debug + Send + Sync {
    /// Changes rows `first..` of `base`, which are in `rows`, `[rows, n_cols]`.
    ///
    /// # Errors
    /// As reading the adapter and the base gives.
    fn change(&self, base: &Stored<'_>, first: usize, rows: &mut [f32], scratch: &mut Scratch) -> Result<()>;
}

/// A tensor and what becomes of it. It lies on no grid any more.
#[derive(Debug)]
pub(super) struct Adapted<'a, C> {
    base: Stored<'a>,
    change: C,
}

impl<'a, C> Adapted<'a, C> {
    /// `base` with a change that fits it.
    pub(super) fn new(base: Stored<'a>, change: C) -> Self {
        Self { base, change }
    }
}

impl<C: RowChange> Packed for Adapted<'_, C> {
    fn scheme(&self) -> &'static str {
        self.base.type_name()
    }

    fn shape(&self) -> &[usize] {
        self.base.shape()
    }

    fn path(&self) -> &Path {
        self.base.path()
    }

    fn n_bytes(&self) -> u64 {
        self.base.bytes_of(self.shape().iter().product())
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let n_cols = self.shape().last().copied().unwrap_or(1);
        self.base.read(first * n_cols, out, &mut Vec::new(), scratch)?;
        self.change.change(&self.base, first, out, scratch)
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }

    fn is_quantised(&self) -> bool {
        self.base.is_quantised()
    }
}
