//! What a matrix gets and adds to, beside the original model, because matrices before it are quantised already; and
//! the weights that make up for it.
//!
//! In the original, a matrix `W` gets `x0` and its outputs are added to a stream `s0`; here it gets `x`, and they are
//! added to `s`. Of all weights `W + D`, those answer nearest to the original, in least squares over the inputs seen,
//! for which
//!
//! ```text
//! D H = W C + S        H = sum x xT / n,  C = sum (x0 - x) xT / n,  S = sum (s0 - s) xT / n
//! ```
//!
//! GPTAQ (Li et al., 2025) lets the first term in while columns are quantised in order; solved before, it serves the
//! search for scales and coordinate descent as well.

use gguf_simd::{ColumnsMut, Kernels};
use rayon::prelude::*;

use super::hessian::{PANEL, columns};

/// What a batch brought to a matrix.
#[derive(Debug)]
pub(super) struct Seen {
    /// `[n, n_in]`.
    pub(super) inputs: Vec<f32>,
    /// `[n, n_in]`: what the inputs lack of those in the original model.
    pub(super) lost: Vec<f32>,
    /// `[n, n_out]`: what the stream lacks, counted as outputs of the matrix; empty where outputs go elsewhere.
    pub(super) lost_of_stream: Vec<f32>,
}

/// The sums of a matrix.
#[derive(Debug)]
pub(super) struct Drift {
    n_in: usize,
    n_tokens: usize,
    /// `[n_in, n_in]`: `C`, transposed.
    of_inputs: Vec<f32>,
    /// `[n_out, n_in]`: `S`; empty where outputs go elsewhere.
    of_stream: Vec<f32>,
}

impl Drift {
    /// Of a matrix with rows of `n_in` weights.
    pub(super) fn new(n_in: usize) -> Self {
        Self { n_in, n_tokens: 0, of_inputs: vec![0.0; n_in * n_in], of_stream: Vec::new() }
    }

    /// Whether every sum is a number.
    pub(super) fn is_finite(&self) -> bool {
        [&self.of_inputs, &self.of_stream].into_iter().flatten().all(|sum| sum.is_finite())
    }

    /// Adds what a batch brought, on the threads of the pool that calls.
    pub(super) fn add(&mut self, kernels: &Kernels, seen: &Seen) {
        let n = seen.inputs.len() / self.n_in;
        if n == 0 {
            return;
        }
        self.n_tokens += n;
        let inputs = columns(&seen.inputs, self.n_in);
        add_products(kernels, &columns(&seen.lost, self.n_in), &inputs, n, &mut self.of_inputs);
        if !seen.lost_of_stream.is_empty() {
            let n_out = seen.lost_of_stream.len() / n;
            self.of_stream.resize(n_out * self.n_in, 0.0);
            add_products(kernels, &inputs, &columns(&seen.lost_of_stream, n_out), n, &mut self.of_stream);
        }
    }

    /// `W C + S` for `rows: [n_rows, n_in]` of the matrix from `first` on, into `out`.
    pub(super) fn asked(&self, kernels: &Kernels, rows: &[f32], first: usize, out: &mut Vec<f32>) {
        let n_in = self.n_in;
        out.resize(rows.len(), 0.0);
        kernels.gemm_f32(&self.of_inputs, n_in, rows, ColumnsMut::new(out, n_in, rows.len() / n_in));
        if !self.of_stream.is_empty() {
            kernels.ops().add(out, &self.of_stream[first * n_in..][..rows.len()]);
        }
        let scale = 1.0 / self.n_tokens.max(1) as f32;
        out.iter_mut().for_each(|value| *value *= scale);
    }
}

/// Adds to `sums: [n_rows, n_columns]` the products of each row of `rows: [n_rows, n]` with each of
/// `columns: [n_columns, n]`.
fn add_products(kernels: &Kernels, columns: &[f32], rows: &[f32], n: usize, sums: &mut [f32]) {
    let n_columns = columns.len() / n;
    sums.par_chunks_mut(PANEL * n_columns).zip(rows.par_chunks(PANEL * n)).for_each(|(sums, rows)| {
        let mut out = vec![0.0; sums.len()];
        kernels.gemm_f32(columns, n, rows, ColumnsMut::new(&mut out, n_columns, rows.len() / n));
        kernels.ops().add(sums, &out);
    });
}

#[cfg(test)]
mod tests {
    use super::super::codes::Problem;
    use super::super::hessian::Hessian;
    use super::super::observe::OfInputs;
    use super::super::sample::Sample;
    use super::*;

    const N_IN: usize = 40;
    const N_OUT: usize = 3;

    /// Numbers in `-0.5..=0.5`.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * i * 31 + i * seed) % 101) as f32 / 100.0 - 0.5).collect()
    }

    /// What the original gets, `n` times; here a ninth of it is lost, and of the stream what `of_stream` makes of the
    /// rest.
    fn seen(n: usize, seed: usize, of_stream: &[f32]) -> Seen {
        let inputs = numbers(n * N_IN, seed);
        let lost = inputs.iter().map(|x| x / 8.0).collect();
        let of_input = |input: &[f32]| -> Vec<f32> {
            of_stream.chunks(N_IN).map(|row| row.iter().zip(input).map(|(w, x)| w * x).sum()).collect()
        };
        let lost_of_stream = inputs.chunks(N_IN).flat_map(of_input).collect();
        Seen { inputs, lost, lost_of_stream }
    }

    #[test]
    fn the_correction_is_what_makes_up_for_inputs_and_stream() {
        let kernels = Kernels::best();
        let (rows, of_stream) = (numbers(N_OUT * N_IN, 7), numbers(N_OUT * N_IN, 3));
        let (mut hessian, mut drift, mut held_out) =
            (Hessian::new(N_IN), Drift::new(N_IN), Sample::new(N_IN));
        for seed in [11, 13] {
            let seen = seen(300, seed, &of_stream);
            hessian.add(kernels, &seen.inputs);
            drift.add(kernels, &seen);
        }
        held_out.add_seen(&seen(50, 17, &of_stream));
        let problem = Problem::new(kernels, hessian.matrix(1.0), N_IN);
        let (mut lost, mut made_up, mut spare) = (Vec::new(), Vec::new(), Vec::new());
        // Of all rows, and of the last alone.
        for first in [0, N_OUT - 1] {
            let rows = &rows[first * N_IN..];
            let mut correction = Vec::new();
            problem.correction(&drift, rows, first, (&mut correction, &mut spare));
            let exact = rows.iter().zip(&of_stream[first * N_IN..]).map(|(row, stream)| row / 8.0 + stream);
            for (found, exact) in correction.iter().zip(exact) {
                assert!((found - exact).abs() < 0.05, "{found} for {exact}");
            }
            held_out.lost_outputs(kernels, rows, first, &mut lost);
            held_out.outputs(kernels, &correction, &mut made_up);
            let left: f32 = lost.iter().zip(&made_up).map(|(lost, made_up)| (lost - made_up).powi(2)).sum();
            let all: f32 = lost.iter().map(|lost| lost * lost).sum();
            assert!(left < 0.01 * all, "{left} of {all}");
        }
    }
}
