//! Matrices of experts with the adapters that are merged into them: all of a layer in one tensor, or a tensor each.

use std::sync::{Arc, Mutex, PoisonError};

use super::adapted::RowChange;
use super::numbers::{Layout, Numbers};
use super::{Scratch, Stored};
use crate::checkpoint::ExpertsLowRank;
use crate::error::{Error, Result};

/// Which rows of the matrices of all experts, one below the other, a tensor has.
#[derive(Clone, Copy, Debug)]
pub(in crate::convert) struct ExpertRows {
    /// The first of them.
    pub(in crate::convert) first: usize,
    /// How many an expert has.
    pub(in crate::convert) per_expert: usize,
    /// Whether rows are of inputs, where the numbers of inputs and outputs do not tell.
    pub(in crate::convert) are_inputs: bool,
}

/// What is added to rows of experts.
#[derive(Debug)]
pub(super) struct MergedExperts<'a> {
    rows: ExpertRows,
    added: ExpertsLowRank<'a>,
    /// `[n_experts r, n_in]`
    a: Numbers<'a>,
    /// `[n_out, r n_experts]`
    b: Numbers<'a>,
    /// Those of the expert that was read last: rows follow each other.
    last: Mutex<Option<Arc<Factors>>>,
}

/// The matrices of one expert: what is added is `left right`.
#[derive(Debug)]
struct Factors {
    expert: usize,
    /// `[per_expert, r]`
    left: Vec<f32>,
    /// `[r, n_cols]`
    right: Vec<f32>,
}

impl<'a> MergedExperts<'a> {
    /// `added` to the `rows` that the tensor `base`, called `name`, has.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the two are of other shapes.
    pub(super) fn new(
        name: &str,
        base: &Stored<'a>,
        added: &ExpertsLowRank<'a>,
        rows: ExpertRows,
    ) -> Result<Self> {
        let ExpertsLowRank { a, b, n_experts, .. } = *added;
        let (n_in, n_out) = (a.shape[1], b.shape[0]);
        let shape = base.shape();
        let n_cols = shape.last().copied().unwrap_or(0);
        let n_rows = shape.iter().rev().skip(1).product::<usize>();
        let is = |of_rows, of_columns| rows.per_expert == of_rows && n_cols == of_columns;
        let (plain, turned) = (is(n_out, n_in), is(n_in, n_out));
        // A tensor has some rows of an expert, or all experts.
        let n_all = n_experts * rows.per_expert;
        let has_all = n_rows == n_all || n_rows <= rows.per_expert && rows.first + n_rows <= n_all;
        if !(plain || turned) || !has_all {
            let what = format!(
                "the adapter changes the matrices of {n_experts} experts from {n_in} to {n_out}, but {} in the base has \
                 shape {shape:?}: it was trained on another model",
                name.escape_debug()
            );
            return Err(Error::malformed(a.path(), what));
        }
        let numbers = |view, shape| Numbers::new(name, view, Layout::default(), shape);
        Ok(Self {
            rows: ExpertRows { are_inputs: turned && (rows.are_inputs || !plain), ..rows },
            added: *added,
            a: numbers(a, [a.shape[0], n_in])?,
            b: numbers(b, [n_out, b.shape[1]])?,
            last: Mutex::default(),
        })
    }

    /// The matrices of an expert.
    fn factors(&self, expert: usize, scratch: &mut Scratch) -> Result<Arc<Factors>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(factors) = last.as_ref().filter(|factors| factors.expert == expert) {
            return Ok(Arc::clone(factors));
        }
        let n_experts = self.added.n_experts;
        let (n_in, n_out) = (self.a.n_cols(), self.added.b.shape[0]);
        let rank = self.added.a.shape[0] / n_experts;
        // [r, n_in], and [n_out, r] out of [n_out, r n_experts].
        let mut of_inputs = vec![0.0; rank * n_in];
        self.a.read(expert * rank, &mut of_inputs, &mut scratch.bytes)?;
        let mut row = vec![0.0; rank * n_experts];
        let mut of_outputs = Vec::with_capacity(n_out * rank);
        for output in 0..n_out {
            self.b.read(output, &mut row, &mut scratch.bytes)?;
            of_outputs.extend(row.iter().skip(expert).step_by(n_experts));
        }
        let (left, right) = if self.rows.are_inputs {
            (turned(&of_inputs, n_in), turned(&of_outputs, rank))
        } else {
            (of_outputs, of_inputs)
        };
        let factors = Arc::new(Factors { expert, left, right });
        *last = Some(Arc::clone(&factors));
        Ok(factors)
    }
}

/// A matrix of so many columns, turned.
fn turned(matrix: &[f32], n_cols: usize) -> Vec<f32> {
    (0..n_cols).flat_map(|c| matrix.iter().skip(c).step_by(n_cols).copied()).collect()
}

impl RowChange for MergedExperts<'_> {
    fn change(&self, base: &Stored<'_>, first: usize, rows: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let n_cols = base.shape().last().copied().unwrap_or(1);
        for (row, out) in (self.rows.first + first..).zip(rows.chunks_exact_mut(n_cols)) {
            let (expert, row) = (row / self.rows.per_expert, row % self.rows.per_expert);
            let factors = self.factors(expert, scratch)?;
            let rank = factors.right.len() / n_cols;
            let lines = factors.right.chunks_exact(n_cols);
            for (factor, line) in factors.left[row * rank..][..rank].iter().zip(lines) {
                let factor = factor * self.added.scale;
                out.iter_mut().zip(line).for_each(|(x, y)| *x += factor * y);
            }
        }
        Ok(())
    }
}
