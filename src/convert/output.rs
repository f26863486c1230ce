//! The files of a conversion, and the groups of rows that make them.

use std::path::Path;

use crate::convert::plan::{Plan, Planned};
use crate::error::Result;
use crate::gguf::ModelWriter;
use crate::quantize::ErrorStats;

/// Elements of a group of rows, unless a single row has more.
const GROUP_ELEMENTS: usize = 1 << 18;

/// Rows of one tensor that are converted together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) tensor: usize,
    pub(super) first_row: usize,
    pub(super) n_rows: usize,
}

/// All rows of a plan, in groups of about [`GROUP_ELEMENTS`].
pub(super) fn cut(plan: &Plan<'_>) -> Vec<Group> {
    let mut groups = Vec::new();
    for (tensor, Planned { rows, .. }) in plan.sources().iter().enumerate() {
        let most = (GROUP_ELEMENTS / rows.n_in()).max(1);
        let firsts = (0..rows.n_rows()).step_by(most);
        groups.extend(firsts.map(|first_row| Group {
            tensor,
            first_row,
            n_rows: most.min(rows.n_rows() - first_row),
        }));
    }
    groups
}

/// A plan and the files that are made of it.
pub(super) struct Output<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) writer: ModelWriter,
}

impl<'a> Output<'a> {
    pub(super) fn create(plan: &'a Plan<'a>, path: &Path, overwrite: bool) -> Result<Self> {
        Ok(Self { plan, writer: ModelWriter::create(plan.files().at(path), overwrite)? })
    }

    /// What encoding each tensor lost, of what encoding each group lost.
    pub(super) fn errors<'e>(
        &self,
        groups: &[Group],
        of_group: impl Fn(usize) -> &'e ErrorStats,
    ) -> Vec<ErrorStats> {
        let mut errors = vec![ErrorStats::default(); self.plan.sources().len()];
        groups.iter().enumerate().for_each(|(i, group)| errors[group.tensor].merge(of_group(i)));
        errors
            .iter()
            .zip(self.plan.sources())
            .map(|(error, planned)| planned.error.unwrap_or(*error))
            .collect()
    }

    /// Where the blocks of a group begin in its tensor, and how many bytes they have.
    pub(super) fn place_of(&self, group: Group) -> (u64, usize) {
        let n_rows = self.plan.sources()[group.tensor].rows.n_rows() as u64;
        let row_bytes = (self.plan.files().tensor(group.tensor).n_bytes / n_rows) as usize;
        ((group.first_row * row_bytes) as u64, group.n_rows * row_bytes)
    }

    pub(super) fn resume(
        plan: &'a Plan<'a>,
        path: &Path,
        overwrite: bool,
        key: &str,
    ) -> Result<Option<Self>> {
        let writer = ModelWriter::resume(plan.files().at(path), overwrite, key)?;
        Ok(writer.map(|writer| Self { plan, writer }))
    }
}
