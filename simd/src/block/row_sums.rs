//! Adds the terms of windows to the sums of their rows, in order but late.
//!
//! Kernels compute the terms of a group of `N` windows at a time, a lane for each, and groups go on
//! across the ends of rows, so that short rows leave no lanes empty. Two things then keep the CPU
//! waiting, and both are put off until they are over. What the windows of a group have stored cannot be
//! loaded as one vector until the stores have reached the cache: a kernel keeps two groups, and computes
//! the terms of one when the other is full. And the additions of a row wait for each other: they are
//! done one by one, beside the work on the windows of the group that comes next.

/// The sums of rows of equally many windows.
pub(crate) struct RowSums<'a, const N: usize> {
    /// Where the sums go.
    out: core::slice::IterMut<'a, f32>,
    /// Terms of a row.
    per_row: usize,
    /// Terms that the row at hand still lacks.
    missing: usize,
    /// The sum of those it has.
    sum: f32,
    /// Whether it is a row; before the first come the terms of two groups that do not exist.
    is_row: bool,
    /// The terms being added.
    terms: [f32; N],
}

impl<'a, const N: usize> RowSums<'a, N> {
    /// The sums of `out.len()` rows of `per_row` windows, of which there is at least one.
    #[inline(always)]
    pub(crate) fn new(out: &'a mut [f32], per_row: usize) -> Self {
        Self { out: out.iter_mut(), per_row, missing: 2 * N, sum: 0.0, is_row: false, terms: [0.0; N] }
    }

    /// To be called with each lane, in order, as a group fills.
    #[inline(always)]
    pub(crate) fn add_late(&mut self, lane: usize) {
        self.add(self.terms[lane]);
    }

    /// To be called when a group is full, with the terms of the group before it; of anything, if there is
    /// none.
    #[inline(always)]
    pub(crate) fn replace(&mut self, terms: [f32; N]) {
        self.terms = terms;
    }

    /// Ends with a group of which only `lanes` are filled: adds the terms that are left, those of the full
    /// group before it, and its own.
    #[inline(always)]
    pub(crate) fn finish(mut self, lanes: usize, before: [f32; N], last: [f32; N]) {
        for lane in lanes..N {
            self.add_late(lane);
        }
        for term in before.iter().chain(&last[..lanes]) {
            self.add(*term);
        }
    }

    /// Adds the term that comes next.
    #[inline(always)]
    fn add(&mut self, term: f32) {
        self.sum += term;
        self.missing -= 1;
        if self.missing == 0 {
            if self.is_row
                && let Some(out) = self.out.next()
            {
                *out = self.sum;
            }
            (self.missing, self.sum, self.is_row) = (self.per_row, 0.0, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowSums;

    /// Adds terms as the kernels do.
    fn sums(terms: &[f32], per_row: usize) -> Vec<f32> {
        const N: usize = 4;
        let mut out = vec![-1.0; terms.len() / per_row];
        let mut rows = RowSums::<N>::new(&mut out, per_row);
        let (mut now, mut before, mut lane) = ([f32::NAN; N], [f32::NAN; N], 0);
        for term in terms {
            now[lane] = *term;
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
                let expected: Vec<f32> = terms.chunks(per_row).map(|row| row.iter().sum()).collect();
                assert_eq!(sums(&terms, per_row), expected, "{n} terms, {per_row} a row");
            }
        }
    }
}
