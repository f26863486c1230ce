//! What calibration made, to be put into a plan.

use super::store::{Store, Won};
use crate::convert::blocks::Blocks;
use crate::convert::plan::Plan;
use crate::convert::transform::SourceRows;
use crate::error::{Error, Result};
use crate::quantize::ErrorStats;
use crate::read_file::ReadFile;

/// Calibrated tensors of a plan, on disk.
#[derive(Debug)]
pub struct Calibrated {
    store: Store,
    files: Vec<ReadFile>,
    tensors: Vec<Tensor>,
}

/// Where the blocks of a tensor are.
#[derive(Debug)]
struct Tensor {
    /// Its number in the plan.
    index: usize,
    file: usize,
    offset: u64,
    won: Won,
    error: ErrorStats,
}

impl Calibrated {
    /// Opens what was kept of `parts`.
    pub(super) fn open(plan: &Plan<'_>, store: Store, parts: &[String]) -> Result<Self> {
        let (mut files, mut tensors) = (Vec::new(), Vec::new());
        for part in parts {
            let (file, stored) = store.open_blocks(part)?;
            for (stored, offset) in stored {
                let index = plan.files().tensors().position(|placed| placed.name == stored.won.name);
                let index = index.ok_or_else(|| Error::malformed(file.path(), "it is of another model"))?;
                let (file, error) = (files.len(), stored.error());
                tensors.push(Tensor { index, file, offset, won: stored.won, error });
            }
            files.push(file);
        }
        Ok(Self { store, files, tensors })
    }

    /// What calibrating each tensor won.
    pub fn won(&self) -> impl Iterator<Item = &Won> {
        self.tensors.iter().map(|tensor| &tensor.won)
    }

    /// Puts the blocks into a plan, in the place of what its tensors would be encoded from.
    pub fn put_into<'a>(&'a self, mut plan: Plan<'a>) -> Plan<'a> {
        for tensor in &self.tensors {
            let placed = plan.files().tensor(tensor.index);
            let (ty, rows) = (placed.ty, &plan.sources()[tensor.index].rows);
            let shape = (rows.n_rows(), rows.n_in());
            let file = &self.files[tensor.file];
            let blocks = Blocks { file, name: &tensor.won.name, offset: tensor.offset, ty, is_copied: false };
            plan.replace_source(tensor.index, SourceRows::blocks(blocks, shape), tensor.error);
        }
        plan
    }

    /// Removes what was kept to go on from.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(self) -> Result<()> {
        drop(self.files);
        self.store.remove()
    }
}
