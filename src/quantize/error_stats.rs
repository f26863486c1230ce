//! How far decoded blocks are from the values they stand for.

use gguf_simd::BlockType;

/// Sums over elements, from which the usual measures follow.
///
/// Rows are added in order and parts merged in order, so the result does not depend on how the work
/// was divided among threads as long as the parts are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorStats {
    /// Elements.
    pub n: u64,
    /// Sum of the squared differences.
    pub sum_squared_error: f64,
    /// Sum of the squared values.
    pub sum_squares: f64,
    /// The largest absolute difference.
    pub max_error: f32,
}

impl ErrorStats {
    /// Adds a row and what became of it.
    ///
    /// # Panics
    /// If `decoded` is not as long as `row`.
    pub fn add_row(&mut self, row: &[f32], decoded: &[f32]) {
        // Sums side by side are vectors; a single one would wait for each addition.
        let mut lanes = Lanes::default();
        let (chunks, rest) = row.as_chunks::<LANES>();
        let (decoded_chunks, decoded_rest) = decoded.as_chunks::<LANES>();
        for (values, decoded) in chunks.iter().zip(decoded_chunks) {
            lanes.add(values, decoded);
        }
        let (mut values, mut last) = ([0.0; LANES], [0.0; LANES]);
        values[..rest.len()].copy_from_slice(rest);
        last[..rest.len()].copy_from_slice(decoded_rest);
        lanes.add(&values, &last);
        self.merge(&Self {
            n: row.len() as u64,
            sum_squared_error: lanes.squared_errors.iter().sum(),
            sum_squares: lanes.squares.iter().sum(),
            max_error: lanes.max_errors.iter().fold(0.0, |largest, &error| error.max(largest)),
        });
    }

    /// Of rows that are kept as they are.
    pub fn none(rows: &[f32]) -> Self {
        let mut stats = Self::default();
        stats.add_row(rows, rows);
        stats
    }

    /// Adds the sums of another part.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum_squared_error += other.sum_squared_error;
        self.sum_squares += other.sum_squares;
        self.max_error = self.max_error.max(other.max_error);
    }

    /// The root mean square of the differences, relative to that of the values; 0 for no error at
    /// all, also where every value is zero.
    pub fn relative_rmse(&self) -> f64 {
        if self.sum_squared_error == 0.0 { 0.0 } else { (self.sum_squared_error / self.sum_squares).sqrt() }
    }

    /// Whether values up to `largest` were beyond the type: infinite in F16, or cut off where the scale of a block is an
    /// F16. An encoding in range errs by a fraction of its largest value.
    pub fn is_out_of_range(&self, largest: f32, ty: BlockType) -> bool {
        let most = match ty.block_bytes() * 8 / ty.block_len() {
            8.. => 1.0 / 32.0,
            4..8 => 1.0 / 4.0,
            _ => 1.0 / 2.0,
        };
        !self.is_finite() || largest > MAX_F16 && self.max_error > largest * most
    }

    /// Whether every difference was a number: an encoding that overflowed decodes to none.
    pub fn is_finite(&self) -> bool {
        self.sum_squared_error.is_finite()
    }
}

/// The largest number in F16.
const MAX_F16: f32 = 65504.0;

/// Elements added side by side.
const LANES: usize = 8;

/// The sums of every eighth element.
#[derive(Default)]
struct Lanes {
    squared_errors: [f64; LANES],
    squares: [f64; LANES],
    max_errors: [f32; LANES],
}

impl Lanes {
    fn add(&mut self, values: &[f32; LANES], decoded: &[f32; LANES]) {
        for l in 0..LANES {
            let error = decoded[l] - values[l];
            self.squared_errors[l] += f64::from(error) * f64::from(error);
            self.squares[l] += f64::from(values[l]) * f64::from(values[l]);
            let (error, largest) = (error.abs(), self.max_errors[l]);
            self.max_errors[l] = if error > largest { error } else { largest };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_rmse_follows_its_definition() {
        let mut stats = ErrorStats::default();
        stats.add_row(&[3.0, 4.0], &[3.0, 4.5]);
        // Error (0, 0.5), values (3, 4): 0.5 / 5.
        assert_eq!(stats.relative_rmse(), 0.1);
        assert_eq!(stats.max_error, 0.5);
        assert_eq!(stats.n, 2);
    }

    #[test]
    fn every_element_of_a_row_counts_once() {
        for n in [1, 7, 8, 9, 23, 64] {
            for at in 0..n {
                let (mut row, mut decoded) = (vec![0.0; n], vec![0.0; n]);
                (row[at], decoded[at]) = (3.0, 2.5);
                let mut stats = ErrorStats::default();
                stats.add_row(&row, &decoded);
                let expected =
                    ErrorStats { n: n as u64, sum_squared_error: 0.25, sum_squares: 9.0, max_error: 0.5 };
                assert_eq!(stats, expected, "element {at} of {n}");
            }
        }
    }

    #[test]
    fn merging_adds_up() {
        let (mut a, mut b, mut whole) = (ErrorStats::default(), ErrorStats::default(), ErrorStats::default());
        a.add_row(&[1.0, 2.0], &[1.5, 2.0]);
        b.add_row(&[4.0], &[3.75]);
        whole.add_row(&[1.0, 2.0, 4.0], &[1.5, 2.0, 3.75]);
        a.merge(&b);
        assert_eq!(a, whole);
    }

    #[test]
    fn an_overflowed_encoding_is_not_finite() {
        let mut stats = ErrorStats::default();
        stats.add_row(&[1e30], &[f32::INFINITY]);
        assert!(!stats.is_finite());
        assert_eq!(ErrorStats::default().relative_rmse(), 0.0);
    }
}
