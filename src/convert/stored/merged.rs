//! Tensors of a base model with the adapters that are merged into them.
//!
//! For DoRA each row of the sum is brought to a length of its own: where the base's matrix is turned, as embeddings
//! are, these are columns, whose lengths take a pass over the whole matrix.

use std::sync::{Mutex, PoisonError};

use super::adapted::RowChange;
use super::numbers::{Layout, Numbers};
use super::{Scratch, Stored};
use crate::checkpoint::LowRank;
use crate::error::{Error, Result};

/// Rows looked at together when columns are measured.
const ROWS_AT_A_TIME: usize = 64;

/// What an adapter adds to a matrix: `scale left right`.
#[derive(Debug)]
pub(super) struct Merged<'a> {
    /// `[n_rows, r]`
    left: Numbers<'a>,
    /// `[r, n_cols]`
    right: Numbers<'a>,
    scale: f32,
    magnitude: Option<Magnitude<'a>>,
}

/// The lengths of the sum's rows or columns.
#[derive(Debug)]
enum Magnitude<'a> {
    OfRows(Numbers<'a>),
    /// What columns are multiplied with, once it is known.
    OfColumns(Numbers<'a>, Mutex<Option<Vec<f32>>>),
}

impl<'a> Merged<'a> {
    /// `added` to the tensor `base`, called `name`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the two are of other shapes.
    pub(super) fn new(name: &str, base: &Stored<'a>, added: &LowRank<'a>) -> Result<Self> {
        let LowRank { a, b, scale, is_turned, magnitude } = *added;
        let (rank, expected) = (a.shape[0], added.shape());
        if base.shape() != expected {
            let what = format!(
                "the adapter changes a matrix of shape {expected:?}, but {} in the base has shape {:?}: it was trained on \
                 another model",
                name.escape_debug(),
                base.shape()
            );
            return Err(Error::malformed(a.path(), what));
        }
        let layout = Layout { is_turned, ..Layout::default() };
        let numbers = |view, shape| Numbers::new(name, view, layout, shape);
        let (left, right) = if is_turned { (a, b) } else { (b, a) };
        let [n_rows, n_cols] = expected;
        let magnitude = magnitude.map(|view| {
            let numbers = Numbers::new(name, view, Layout::default(), [view.n_elements(), 1])?;
            Ok::<_, Error>(match is_turned {
                true => Magnitude::OfColumns(numbers, Mutex::default()),
                false => Magnitude::OfRows(numbers),
            })
        });
        Ok(Self {
            left: numbers(left, [n_rows, rank])?,
            right: numbers(right, [rank, n_cols])?,
            scale,
            magnitude: magnitude.transpose()?,
        })
    }

    /// Makes rows of the base those of the sum, whose lengths are what they come to.
    fn add(&self, first: usize, out: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let Self { left, right, scale, .. } = self;
        let n_in = right.n_cols();
        let (n_rows, rank) = (out.len() / n_in, left.n_cols());
        let (mut of_rows, mut of_columns) = (vec![0.0; n_rows * rank], vec![0.0; rank * n_in]);
        left.read(first, &mut of_rows, &mut scratch.bytes)?;
        right.read(0, &mut of_columns, &mut scratch.bytes)?;
        for (row, factors) in out.chunks_exact_mut(n_in).zip(of_rows.chunks_exact(rank)) {
            for (factor, line) in factors.iter().zip(of_columns.chunks_exact(n_in)) {
                let factor = factor * scale;
                row.iter_mut().zip(line).for_each(|(x, y)| *x += factor * y);
            }
        }
        Ok(())
    }

    /// What each column is multiplied with to have its length.
    fn of_columns(
        &self,
        base: &Stored<'_>,
        lengths: &Numbers<'_>,
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>> {
        let (n_rows, n_cols) = (base.shape()[0], self.right.n_cols());
        let mut sums = vec![0.0_f64; n_cols];
        let mut rows = vec![0.0; ROWS_AT_A_TIME * n_cols];
        for first in (0..n_rows).step_by(ROWS_AT_A_TIME) {
            let rows = &mut rows[..ROWS_AT_A_TIME.min(n_rows - first) * n_cols];
            base.read(first * n_cols, rows, &mut Vec::new(), scratch)?;
            self.add(first, rows, scratch)?;
            for row in rows.chunks_exact(n_cols) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
            }
        }
        let mut factors = vec![0.0; n_cols];
        lengths.read(0, &mut factors, &mut scratch.bytes)?;
        factors.iter_mut().zip(sums).for_each(|(factor, sum)| *factor /= sum.sqrt() as f32);
        Ok(factors)
    }
}

impl RowChange for Merged<'_> {
    fn change(&self, base: &Stored<'_>, first: usize, rows: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        self.add(first, rows, scratch)?;
        let n_in = self.right.n_cols();
        match &self.magnitude {
            None => {}
            Some(Magnitude::OfRows(lengths)) => {
                let mut wanted = vec![0.0; rows.len() / n_in];
                lengths.read(first, &mut wanted, &mut scratch.bytes)?;
                for (row, wanted) in rows.chunks_exact_mut(n_in).zip(wanted) {
                    let sum: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                    let factor = wanted / sum.sqrt() as f32;
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            Some(Magnitude::OfColumns(lengths, known)) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let factors = match &mut *known {
                    Some(factors) => factors,
                    none => none.insert(self.of_columns(base, lengths, scratch)?),
                };
                for row in rows.chunks_exact_mut(n_in) {
                    row.iter_mut().zip(factors.iter()).for_each(|(x, factor)| *x *= factor);
                }
            }
        }
        Ok(())
    }
}
