//! A mutable view of some rows of a column-major matrix: what a thread may write of a product.

use core::marker::PhantomData;
use core::ops::Range;

/// Rows `0..n_rows` of each of `n_cols` columns; column `c` starts `c * stride` floats after the
/// first. Views made by [`ColumnsMut::split_at_row`] and [`ColumnsMut::split_at_column`] never
/// overlap, so threads can fill them side by side.
#[derive(Debug)]
pub struct ColumnsMut<'a> {
    first: *mut f32,
    n_rows: usize,
    n_cols: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view is the only access to its floats (`new` takes them by `&mut`, the splits
// divide them, `reborrow` lends them), as a `&mut [f32]` is, and that is `Send`.
unsafe impl Send for ColumnsMut<'_> {}

impl<'a> ColumnsMut<'a> {
    /// Views `data` as `[n_cols, n_rows]`, outermost first.
    ///
    /// # Panics
    /// If `data.len() != n_rows * n_cols`.
    pub fn new(data: &'a mut [f32], n_rows: usize, n_cols: usize) -> Self {
        assert_eq!(Some(data.len()), n_rows.checked_mul(n_cols), "a view needs n_rows * n_cols floats");
        Self { first: data.as_mut_ptr(), n_rows, n_cols, stride: n_rows, lifetime: PhantomData }
    }

    /// Rows in each column.
    #[inline]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns.
    #[inline]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// This view's rows of column `c`.
    ///
    /// # Panics
    /// If `c >= n_cols`.
    #[inline]
    pub fn column(&mut self, c: usize) -> &mut [f32] {
        assert!(c < self.n_cols, "column {c} of {}", self.n_cols);
        // SAFETY: `new` checked that n_cols columns of `stride` floats lie inside the slice, and
        // the splits only narrow; the view owns these rows, and `&mut self` lends them once.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(c * self.stride), self.n_rows) }
    }

    /// The same view for a shorter time.
    pub fn reborrow(&mut self) -> ColumnsMut<'_> {
        ColumnsMut { lifetime: PhantomData, ..*self }
    }

    /// The view of some of its columns.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn columns(&mut self, columns: Range<usize>) -> ColumnsMut<'_> {
        self.reborrow().split_at_column(columns.end).0.split_at_column(columns.start).1
    }

    /// Divides the view into columns `0..column` and `column..`.
    ///
    /// # Panics
    /// If `column > n_cols`.
    pub fn split_at_column(self, column: usize) -> (Self, Self) {
        assert!(column <= self.n_cols, "column {column} of {}", self.n_cols);
        let before = Self { n_cols: column, ..self };
        // The pointer may lie past the slice if no column remains: it is then never followed, and
        // the addition must be one that allows it.
        let first = self.first.wrapping_add(column * self.stride);
        let after = Self { first, n_cols: self.n_cols - column, ..self };
        (before, after)
    }

    /// Divides the view into rows `0..row` and `row..`.
    ///
    /// # Panics
    /// If `row > n_rows`.
    pub fn split_at_row(self, row: usize) -> (Self, Self) {
        assert!(row <= self.n_rows, "row {row} of {}", self.n_rows);
        let upper = Self { n_rows: row, ..self };
        // As above, if no row remains or there are no columns.
        let first = self.first.wrapping_add(row);
        let lower = Self { first, n_rows: self.n_rows - row, ..self };
        (upper, lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_views_write_their_own_rows() {
        let mut data = [0.0; 6];
        let (mut upper, mut lower) = ColumnsMut::new(&mut data, 3, 2).split_at_row(1);
        for c in 0..2 {
            upper.column(c).fill(1.0 + c as f32);
            lower.column(c).fill(10.0 + c as f32);
        }
        assert_eq!(data, [1.0, 10.0, 10.0, 2.0, 11.0, 11.0]);
    }

    #[test]
    fn a_split_by_columns_and_rows_reaches_each_float_once() {
        let mut data = [0.0; 12];
        let (mut before, after) = ColumnsMut::new(&mut data, 4, 3).split_at_column(2);
        before.reborrow().column(1).fill(1.0);
        before.column(0).fill(2.0);
        let (_, mut corner) = after.split_at_row(3);
        corner.column(0).fill(3.0);
        let (all, none) = corner.split_at_column(1);
        assert_eq!((all.n_cols(), none.n_cols()), (1, 0));
        assert_eq!(data, [2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 3.0]);
    }

    #[test]
    fn an_empty_split_is_harmless() {
        let mut data = [0.0; 4];
        let (upper, mut lower) = ColumnsMut::new(&mut data, 2, 2).split_at_row(2);
        assert_eq!((upper.n_rows(), lower.n_rows()), (2, 0));
        assert!(lower.column(1).is_empty());
    }
}
