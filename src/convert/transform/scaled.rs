//! Rows that are multiplied when they are read, by row and by column: what folding does to a matrix.

use sha2::{Digest, Sha256};

use super::SourceRows;

/// What rows and columns are multiplied with: powers of two, so that floats stay exact.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::convert) struct Factors {
    /// `[n_rows]`, or nothing.
    pub(in crate::convert) rows: Vec<f32>,
    /// `[n_in]`, or nothing.
    pub(in crate::convert) columns: Vec<f32>,
}

impl Factors {
    /// Multiplies these with others as well.
    pub(in crate::convert) fn multiply(&mut self, other: &Self) {
        for (own, other) in [(&mut self.rows, &other.rows), (&mut self.columns, &other.columns)] {
            if own.is_empty() {
                own.clone_from(other);
            } else {
                own.iter_mut().zip(other).for_each(|(own, other)| *own *= other);
            }
        }
    }

    fn is_none(&self) -> bool {
        self.rows.is_empty() && self.columns.is_empty()
    }

    /// Multiplies rows of `n_in` elements, the first of which is row `first`.
    fn apply(&self, (first, n_in): (usize, usize), rows: &mut [f32]) {
        for (i, row) in rows.chunks_exact_mut(n_in).enumerate() {
            if let Some(factor) = self.rows.get(first + i) {
                row.iter_mut().for_each(|value| *value *= factor);
            }
            row.iter_mut().zip(&self.columns).for_each(|(value, factor)| *value *= factor);
        }
    }

    pub(super) fn update_digest(&self, hasher: &mut Sha256) {
        let factors = self.rows.iter().chain(&self.columns);
        factors.for_each(|factor| hasher.update(factor.to_le_bytes()));
    }
}

impl SourceRows<'_> {
    /// Multiplies what is read from now on as well.
    ///
    /// # Panics
    /// If there are not as many factors as rows or columns.
    pub(in crate::convert) fn multiply(&mut self, factors: &Factors) {
        assert!(self.takes(factors), "a factor for each");
        self.factors.multiply(factors);
    }

    /// Whether there are as many factors as rows or columns, or none.
    pub(in crate::convert) fn takes(&self, factors: &Factors) -> bool {
        let fits = |factors: &[f32], n: usize| factors.is_empty() || factors.len() == n;
        fits(&factors.rows, self.n_rows) && fits(&factors.columns, self.n_in)
    }

    /// Whether what is read is not what is stored.
    pub(super) fn is_multiplied(&self) -> bool {
        !self.factors.is_none()
    }

    /// Multiplies rows that were read, of which the first is row `first`.
    pub(super) fn apply_factors(&self, first: usize, rows: &mut [f32]) {
        self.factors.apply((first, self.n_in), rows);
    }
}
