//! Inputs of a matrix that had no part in choosing its codes: what the choice is checked with.
//!
//! A few hundred tell the sum of squared changes of all rows to a few per cent, and cost less than another Hessian.

use gguf_simd::{ColumnsMut, Kernels};

use super::drift::Seen;
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
    inputs: Kept,
    /// What they lack of those in the original model, if that is known.
    lost: Kept,
    /// What the stream lacks that outputs are added to, counted as outputs, if they are.
    lost_of_stream: Kept,
}

/// Rows that are kept.
#[derive(Clone, Debug, Default)]
struct Kept {
    width: usize,
    values: Vec<f32>,
}

impl Kept {
    fn push(&mut self, row: &[f32]) {
        self.width = row.len();
        self.values.extend_from_slice(row);
    }

    /// Keeps every second one.
    fn thin(&mut self) {
        let n = self.width;
        for i in 0..self.values.len() / n.max(1) / 2 {
            self.values.copy_within(2 * i * n..(2 * i + 1) * n, i * n);
        }
        self.values.truncate(self.values.len() / 2);
    }
}

impl OfInputs for Sample {
    fn new(n_in: usize) -> Self {
        let [inputs, lost, lost_of_stream] = Default::default();
        Self { n_in, n_seen: 0, stride: 1, inputs, lost, lost_of_stream }
    }

    fn add(&mut self, _kernels: &Kernels, inputs: &[f32]) {
        for input in inputs.chunks_exact(self.n_in) {
            self.add_one(input, &[], &[]);
        }
    }
}

impl Sample {
    /// Adds what a batch brought.
    pub(super) fn add_seen(&mut self, Seen { inputs, lost, lost_of_stream }: &Seen) {
        let n_out = lost_of_stream.len() / (inputs.len() / self.n_in).max(1);
        let rows = inputs.chunks_exact(self.n_in).zip(lost.chunks_exact(self.n_in));
        for (t, (input, lost)) in rows.enumerate() {
            self.add_one(input, lost, &lost_of_stream[t * n_out..][..n_out]);
        }
    }

    fn add_one(&mut self, input: &[f32], lost: &[f32], lost_of_stream: &[f32]) {
        if self.n_seen.is_multiple_of(self.stride) {
            self.inputs.push(input);
            self.lost.push(lost);
            self.lost_of_stream.push(lost_of_stream);
            if self.n_kept() == 2 * LEAST {
                [&mut self.inputs, &mut self.lost, &mut self.lost_of_stream].into_iter().for_each(Kept::thin);
                self.stride *= 2;
            }
        }
        self.n_seen += 1;
    }

    fn n_kept(&self) -> usize {
        self.inputs.values.len() / self.n_in
    }

    /// Whether every input is a number.
    pub(super) fn is_finite(&self) -> bool {
        [&self.inputs, &self.lost, &self.lost_of_stream]
            .iter()
            .all(|kept| kept.values.iter().all(|x| x.is_finite()))
    }

    /// The outputs of `rows: [n_rows, n_in]`, into `out: [n_rows, n_kept]`.
    pub(super) fn outputs(&self, kernels: &Kernels, rows: &[f32], out: &mut Vec<f32>) {
        let (n, n_rows) = (self.n_kept(), rows.len() / self.n_in);
        out.resize(n * n_rows, 0.0);
        kernels.gemm_f32(&self.inputs.values, self.n_in, rows, ColumnsMut::new(out, n, n_rows));
    }

    /// What outputs of `rows: [n_rows, n_in]`, which are those of the original model from `first` on, lack of what
    /// they are there, into `out: [n_rows, n_kept]`.
    pub(super) fn lost_outputs(&self, kernels: &Kernels, rows: &[f32], first: usize, out: &mut Vec<f32>) {
        let (n, n_rows) = (self.n_kept(), rows.len() / self.n_in);
        out.clear();
        out.resize(n * n_rows, 0.0);
        if self.lost.width > 0 {
            kernels.gemm_f32(&self.lost.values, self.n_in, rows, ColumnsMut::new(out, n, n_rows));
        }
        let Kept { width, values } = &self.lost_of_stream;
        if *width > 0 {
            for (row, out) in out.chunks_exact_mut(n).enumerate() {
                out.iter_mut()
                    .zip(values.chunks_exact(*width))
                    .for_each(|(out, lost)| *out += lost[first + row]);
            }
        }
    }

    /// The mean squared difference of outputs from those of the original model, over the inputs, if rows err by
    /// `errors: [n_rows, n_in]` and outputs have `lost: [n_rows, n_kept]` already; 0 without inputs.
    pub(super) fn output_error(
        &self,
        kernels: &Kernels,
        errors: &[f32],
        lost: &[f32],
        spare: &mut Vec<f32>,
    ) -> f64 {
        self.outputs(kernels, errors, spare);
        assert_eq!(spare.len(), lost.len(), "what each output lacks");
        let differences = spare.iter().zip(lost).map(|(change, lost)| f64::from(change + lost));
        let sum: f64 = differences.map(|difference| difference * difference).sum();
        sum / self.n_kept().max(1) as f64
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
        let first: Vec<f32> = sample.inputs.values.chunks(2).map(|input| input[0]).collect();
        assert_eq!(first, (0..5000).step_by(8).map(|i| i as f32).collect::<Vec<_>>());
        assert!((LEAST..2 * LEAST).contains(&first.len()));
    }

    #[test]
    fn an_output_error_is_the_mean_square_of_what_errors_do() {
        let mut sample = Sample::new(2);
        let (kernels, mut spare) = (Kernels::best(), Vec::new());
        assert_eq!(sample.output_error(kernels, &[1.0, 2.0], &[], &mut spare), 0.0);
        sample.add(kernels, &[1.0, 2.0, 3.0, -1.0]);
        // Changes of 5 and 1 by the first row, of -1 and -3 by the second.
        let found = sample.output_error(kernels, &[1.0, 2.0, -1.0, 0.0], &[0.0; 4], &mut spare);
        assert!((found - (25.0 + 1.0 + 1.0 + 9.0) / 2.0).abs() < 1e-6, "{found}");
        assert!(sample.is_finite());
        sample.add(kernels, &[0.0, f32::NAN]);
        assert!(!sample.is_finite());
    }
}
