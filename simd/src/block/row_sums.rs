//! Adds the terms of windows to the sums of their rows, in order but late.
//!
//! Kernels compute the terms of a group of `N` windows at a time, a lane for each, and groups go on
//! across the ends of rows, so that short rows leave no lanes empty. Two things then keep the CPU
//! waiting, and both are put off until they are over. What the windows of a group have stored cannot be
//! loaded as one vector until the stores have reached the cache: a kernel keeps two groups, and computes
//! the terms of one when the other is full. And the additions of a row wait for each other: they are
//! done one by one, beside the work on the windows of the group that comes next.

use crate::columns::ColumnsMut;

/// The sums of rows of equally many windows, with `NC` columns.
pub(crate) struct RowSums<'a, 'b, const N: usize, const NC: usize> {
    /// Where the sums go: as many columns.
    out: &'a mut ColumnsMut<'b>,
    /// Terms of a row.
    per_row: usize,
    /// Terms that the row at hand still lacks.
    missing: usize,
    /// The sum of those it has, for each column.
    sum: [f32; NC],
    /// The row at hand; none before the first, where the terms of two groups come that do not exist.
    row: Option<usize>,
    /// The terms being added.
    terms: [[f32; N]; NC],
}

impl<'a, 'b, const N: usize, const NC: usize> RowSums<'a, 'b, N, NC> {
    /// The sums of as many rows of `per_row` windows as `out` has, of which there is at least one.
    ///
    /// # Panics
    /// If `out` has not `NC` columns.
    #[inline(always)]
    pub(crate) fn new(out: &'a mut ColumnsMut<'b>, per_row: usize) -> Self {
        assert_eq!(out.n_cols(), NC, "columns of the product");
        Self { out, per_row, missing: 2 * N, sum: [0.0; NC], row: None, terms: [[0.0; N]; NC] }
    }

    /// To be called with each lane, in order, as a group fills.
    #[inline(always)]
    pub(crate) fn add_late(&mut self, lane: usize) {
        for c in 0..NC {
            self.sum[c] += self.terms[c][lane];
        }
        self.count();
    }

    /// To be called when a group is full, with the terms of the group before it; of anything, if there is
    /// none.
    #[inline(always)]
    pub(crate) fn replace(&mut self, terms: [[f32; N]; NC]) {
        self.terms = terms;
    }

    /// Ends with a group of which only `lanes` are filled: adds the terms that are left, those of the full
    /// group before it, and its own.
    #[inline(always)]
    pub(crate) fn finish(mut self, lanes: usize, before: [[f32; N]; NC], last: [[f32; N]; NC]) {
        for lane in lanes..N {
            self.add_late(lane);
        }
        self.replace(before);
        for lane in 0..N {
            self.add_late(lane);
        }
        self.replace(last);
        for lane in 0..lanes {
            self.add_late(lane);
        }
    }

    /// Counts a term, and gives the sums away where it was the last of its row.
    #[inline(always)]
    fn count(&mut self) {
        self.missing -= 1;
        if self.missing == 0 {
            if let Some(row) = self.row
                && row < self.out.n_rows()
            {
                for c in 0..NC {
                    self.out.column(c)[row] = self.sum[c];
                }
            }
            self.row = Some(self.row.map_or(0, |row| row + 1));
            (self.missing, self.sum) = (self.per_row, [0.0; NC]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowSums;
    use crate::columns::ColumnsMut;

    /// Adds terms as the kernels do, with a column of them and one of their negatives.
    fn sums(terms: &[f32], per_row: usize) -> Vec<f32> {
        const N: usize = 4;
        let n_rows = terms.len() / per_row;
        let mut out = vec![-1.0; 2 * n_rows];
        let mut columns = ColumnsMut::new(&mut out, n_rows, 2);
        let mut rows = RowSums::<N, 2>::new(&mut columns, per_row);
        let (mut now, mut before, mut lane) = ([[f32::NAN; N]; 2], [[f32::NAN; N]; 2], 0);
        for term in terms {
            (now[0][lane], now[1][lane]) = (*term, -term);
            rows.add_late(lane);
            lane += 1;
            if lane == N {
                core::mem::swap(&mut now, &mut before);
                rows.replace(now);
                lane = 0;
            }
        }
        rows.finish(lane, before, now);
        out
    }

    #[test]
    fn rows_end_where_their_terms_do() {
        for n in 1..=30 {
            let terms: Vec<f32> = (0..n).map(|i| i as f32).collect();
            for per_row in (1..=n).filter(|per_row| n % per_row == 0) {
                let mut expected: Vec<f32> = terms.chunks(per_row).map(|row| row.iter().sum()).collect();
                expected.extend(expected.clone().iter().map(|sum| -sum));
                assert_eq!(sums(&terms, per_row), expected, "{n} terms, {per_row} a row");
            }
        }
    }
}
