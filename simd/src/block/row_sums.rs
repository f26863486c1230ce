//! Adds the terms of windows to the sums of their rows, in order.
//!
//! Kernels that compute the terms of several windows at a time fill their lanes across the ends of
//! rows, so that short rows leave no lanes empty. Terms come here in the order of memory.

/// The sums of rows of equally many windows.
pub(crate) struct RowSums<'a> {
    /// Where the sums go.
    out: core::slice::IterMut<'a, f32>,
    /// Terms of a row.
    per_row: usize,
    /// Terms that the row at hand still lacks.
    missing: usize,
    /// The sum of those it has.
    sum: f32,
}

impl<'a> RowSums<'a> {
    /// The sums of `out.len()` rows of `per_row` windows, of which there is at least one.
    #[inline(always)]
    pub(crate) fn new(out: &'a mut [f32], per_row: usize) -> Self {
        Self { out: out.iter_mut(), per_row, missing: per_row, sum: 0.0 }
    }

    /// Adds the terms that come next; not more than the rows have.
    #[inline(always)]
    pub(crate) fn add(&mut self, mut terms: &[f32]) {
        while !terms.is_empty() {
            let (now, later) = terms.split_at(self.missing.min(terms.len()));
            for term in now {
                self.sum += term;
            }
            self.missing -= now.len();
            terms = later;
            if self.missing == 0 {
                if let Some(out) = self.out.next() {
                    *out = self.sum;
                }
                (self.missing, self.sum) = (self.per_row, 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowSums;

    #[test]
    fn rows_end_where_their_terms_do() {
        let terms: [f32; 12] = core::array::from_fn(|i| i as f32);
        for per_row in [1, 2, 3, 4, 6, 12] {
            for group in 1..=12 {
                let mut out = vec![-1.0; 12 / per_row];
                let mut sums = RowSums::new(&mut out, per_row);
                terms.chunks(group).for_each(|terms| sums.add(terms));
                let expected: Vec<f32> = terms.chunks(per_row).map(|row| row.iter().sum()).collect();
                assert_eq!(out, expected, "{per_row} a row, {group} at a time");
            }
        }
    }
}
