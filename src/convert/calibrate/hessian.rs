//! The Hessian of a product: the second moments of its inputs, `H = sum x xT / n`.
//!
//! Changing the rows of a matrix by `E` changes its outputs by `E x`, so their mean squared change is
//! `tr(E H ET)`: what calibration makes small. Sums over a batch are floats, as the kernels of float matrices
//! compute them (sixteen lanes, the same bits on every CPU); those of batches are added as doubles.

use gguf_simd::{ColumnsMut, Kernels};
use rayon::prelude::*;

use super::observe::OfInputs;

/// Rows of a matrix of sums that a thread computes at a time.
pub(super) const PANEL: usize = 128;

/// `inputs: [n, n_in]` transposed: the products of columns are those of a matrix whose rows are these columns.
pub(super) fn columns(inputs: &[f32], n_in: usize) -> Vec<f32> {
    let n = inputs.len() / n_in;
    let mut columns = vec![0.0; inputs.len()];
    columns.par_chunks_mut(n).enumerate().for_each(|(i, column)| {
        for (t, value) in column.iter_mut().enumerate() {
            *value = inputs[t * n_in + i];
        }
    });
    columns
}

/// Sums of products of inputs.
#[derive(Clone, Debug)]
pub(super) struct Hessian {
    n_in: usize,
    n_tokens: usize,
    /// `[n_in, n_in]`; only the lower triangle, diagonal included, counts.
    sums: Vec<f64>,
}

impl OfInputs for Hessian {
    fn new(n_in: usize) -> Self {
        Self { n_in, n_tokens: 0, sums: vec![0.0; n_in * n_in] }
    }

    fn add(&mut self, kernels: &Kernels, inputs: &[f32]) {
        let n_in = self.n_in;
        assert!(inputs.len().is_multiple_of(n_in), "whole inputs");
        let n = inputs.len() / n_in;
        if n == 0 {
            return;
        }
        self.n_tokens += n;
        let columns = columns(inputs, n_in);
        self.sums.par_chunks_mut(PANEL * n_in).enumerate().for_each(|(panel, sums)| {
            let rows = sums.len() / n_in;
            let end = panel * PANEL + rows;
            let mut out = vec![0.0; rows * end];
            let x = &columns[panel * PANEL * n..end * n];
            let out_columns = ColumnsMut::new(&mut out, end, rows);
            kernels.gemm_f32(&columns[..end * n], n, x, out_columns);
            for (row, (sums, out)) in sums.chunks_exact_mut(n_in).zip(out.chunks_exact(end)).enumerate() {
                for (sum, product) in sums[..panel * PANEL + row + 1].iter_mut().zip(out) {
                    *sum += f64::from(*product);
                }
            }
        });
    }
}

impl Hessian {
    /// Elements of an input.
    pub(super) fn n_in(&self) -> usize {
        self.n_in
    }

    /// Inputs seen.
    pub(super) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Whether every sum is a number.
    pub(super) fn is_finite(&self) -> bool {
        self.sums.iter().all(|sum| sum.is_finite())
    }

    /// The matrix itself, `[n_in, n_in]`. What lies beside the diagonal is multiplied with `kept`: 1 where enough
    /// inputs were seen.
    pub(super) fn matrix(&self, kept: f64) -> Vec<f32> {
        let (n, scale) = (self.n_in, 1.0 / self.n_tokens.max(1) as f64);
        let mut matrix = vec![0.0; n * n];
        matrix.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            for (j, value) in row.iter_mut().enumerate() {
                let sum = self.sums[i.max(j) * n + i.min(j)];
                *value = (sum * scale * if i == j { 1.0 } else { kept }) as f32;
            }
        });
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hessian_is_the_mean_of_outer_products_however_it_is_fed() {
        let n_in = 5;
        let inputs: Vec<f32> = (0..n_in * 7).map(|i| ((i * 37 % 19) as f32 - 9.0) / 4.0).collect();
        let (mut at_once, mut in_parts) = (Hessian::new(n_in), Hessian::new(n_in));
        at_once.add(Kernels::best(), &inputs);
        in_parts.add(Kernels::best(), &inputs[..15]);
        in_parts.add(Kernels::best(), &inputs[15..]);
        let mean = |i: usize, j: usize| inputs.chunks(n_in).map(|x| x[i] * x[j]).sum::<f32>() / 7.0;
        for hessian in [at_once, in_parts] {
            assert_eq!(hessian.n_tokens(), 7);
            let (matrix, halved) = (hessian.matrix(1.0), hessian.matrix(0.5));
            for i in 0..n_in {
                for j in 0..n_in {
                    assert!((matrix[i * n_in + j] - mean(i, j)).abs() < 1e-5, "{i}, {j}");
                    let kept = if i == j { 1.0 } else { 0.5 };
                    assert_eq!(halved[i * n_in + j], (f64::from(matrix[i * n_in + j]) * kept) as f32);
                }
            }
        }
    }

    #[test]
    fn an_input_that_is_no_number_shows() {
        let mut hessian = Hessian::new(2);
        hessian.add(Kernels::best(), &[1.0, 2.0]);
        assert!(hessian.is_finite());
        hessian.add(Kernels::best(), &[1.0, f32::NAN]);
        assert!(!hessian.is_finite());
    }
}
