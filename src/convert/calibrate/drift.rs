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
#[derive(Debug, Default)]
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
