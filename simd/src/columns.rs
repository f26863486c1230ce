//! A mutable view of some rows of a column-major matrix: what a thread may write of a product.

use core::marker::PhantomData;

/// Rows `0..n_rows` of each of `n_cols` columns; column `c` starts `c * stride` floats after the
/// first. Views made by [`ColumnsMut::split_at_row`] never overlap, so threads can fill them side
/// by side.
#[derive(Debug)]
pub struct ColumnsMut<'a> {
    first: *mut f32,
    n_rows: usize,
    n_cols: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view is the only access to its floats (`new` takes them by `&mut`, `split_at_row`
// divides them), as a `&mut [f32]` is, and that is `Send`.
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
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// This view's rows of column `c`.
    ///
    /// # Panics
    /// If `c >= n_cols`.
    pub fn column(&mut self, c: usize) -> &mut [f32] {
        assert!(c < self.n_cols, "column {c} of {}", self.n_cols);
        // SAFETY: `new` checked that n_cols columns of `stride` floats lie inside the slice, and
        // `split_at_row` only narrows; the view owns these rows, and `&mut self` lends them once.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(c * self.stride), self.n_rows) }
    }

    /// Divides the view into rows `0..row` and `row..`.
    ///
    /// # Panics
    /// If `row > n_rows`.
    pub fn split_at_row(self, row: usize) -> (Self, Self) {
        assert!(row <= self.n_rows, "row {row} of {}", self.n_rows);
        let upper = Self { n_rows: row, ..self };
        // SAFETY: `row <= n_rows <= stride`, so the pointer stays inside the slice or one past it.
        let first = unsafe { self.first.add(row) };
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
    fn an_empty_split_is_harmless() {
        let mut data = [0.0; 4];
        let (upper, mut lower) = ColumnsMut::new(&mut data, 2, 2).split_at_row(2);
        assert_eq!((upper.n_rows(), lower.n_rows()), (2, 0));
        assert!(lower.column(1).is_empty());
    }
}
