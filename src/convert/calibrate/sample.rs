//! Inputs of a matrix that had no part in choosing its codes: what the choice is checked with.
//!
//! A few hundred tell the sum of squared changes of all rows to a few per cent, and cost less than another Hessian.

use gguf_simd::{ColumnsMut, Kernels};

use super::observe::OfInputs;

/// Inputs that are kept at least, if as many are seen, and less than twice as many.
const LEAST: usize = 512;

/// Some of the inputs of a matrix, evenly spaced.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    n_in: usize,
    n_seen: usize,
    /// One input in so many is kept.
    stride: usize,
    /// `[n_kept, n_in]`.
    inputs: Vec<f32>,
}

impl OfInputs for Sample {
    fn new(n_in: usize) -> Self {
        Self { n_in, n_seen: 0, stride: 1, inputs: Vec::new() }
    }

    fn add(&mut self, _kernels: &Kernels, inputs: &[f32]) {
        for input in inputs.chunks_exact(self.n_in) {
            if self.n_seen.is_multiple_of(self.stride) {
                self.inputs.extend_from_slice(input);
                if self.inputs.len() == 2 * LEAST * self.n_in {
                    self.thin();
                }
            }
            self.n_seen += 1;
        }
    }
}

impl Sample {
    /// Keeps every second one.
    fn thin(&mut self) {
        let n_in = self.n_in;
        for i in 0..LEAST {
            self.inputs.copy_within(2 * i * n_in..(2 * i + 1) * n_in, i * n_in);
        }
        self.inputs.truncate(LEAST * n_in);
        self.stride *= 2;
    }

    /// Whether every input is a number.
    pub(super) fn is_finite(&self) -> bool {
        self.inputs.iter().all(|x| x.is_finite())
    }

    /// The mean squared change of outputs, over the inputs, if rows err by `errors: [n_rows, n_in]`; 0 without inputs.
    pub(super) fn output_error(&self, kernels: &Kernels, errors: &[f32], spare: &mut Vec<f32>) -> f64 {
        let (n, n_rows) = (self.inputs.len() / self.n_in, errors.len() / self.n_in);
        spare.resize(n * n_rows, 0.0);
        kernels.gemm_f32(&self.inputs, self.n_in, errors, ColumnsMut::new(spare, n, n_rows));
        let sum: f64 = spare.iter().map(|&change| f64::from(change) * f64::from(change)).sum();
        sum / n.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_stay_evenly_spaced_however_many_there_are() {
        let mut sample = Sample::new(2);
        let inputs: Vec<f32> = (0..5000).flat_map(|i| [i as f32, 1.0]).collect();
        inputs.chunks(700).for_each(|some| sample.add(Kernels::best(), some));
        let first: Vec<f32> = sample.inputs.chunks(2).map(|input| input[0]).collect();
        assert_eq!(first, (0..5000).step_by(8).map(|i| i as f32).collect::<Vec<_>>());
        assert!((LEAST..2 * LEAST).contains(&first.len()));
    }

    #[test]
    fn an_output_error_is_the_mean_square_of_what_errors_do() {
        let mut sample = Sample::new(2);
        let (kernels, mut spare) = (Kernels::best(), Vec::new());
        assert_eq!(sample.output_error(kernels, &[1.0, 2.0], &mut spare), 0.0);
        sample.add(kernels, &[1.0, 2.0, 3.0, -1.0]);
        // Changes of 5 and 1 by the first row, of -1 and -3 by the second.
        let found = sample.output_error(kernels, &[1.0, 2.0, -1.0, 0.0], &mut spare);
        assert!((found - (25.0 + 1.0 + 1.0 + 9.0) / 2.0).abs() < 1e-6, "{found}");
        assert!(sample.is_finite());
        sample.add(kernels, &[0.0, f32::NAN]);
        assert!(!sample.is_finite());
    }
}
