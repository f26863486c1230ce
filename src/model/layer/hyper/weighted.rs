//! Streams that are summed with weights (DeepSeek V4, Hunyuan 4, GLM 5.3).

use super::{HyperScratch, MAX_GIVEN, Row, sigmoid};
use crate::model::compute::Compute;
use crate::model::inputs::Formats;
use crate::model::layer::norm::{Norm, norm_into};
use crate::model::layer::stream::Stream;
use crate::model::product::Product;
use crate::model::spec::layer::{HyperKind, HyperSpec, MAX_STREAMS};
use crate::model::weights::Linear;

/// The weights of such a place.
#[derive(Debug)]
pub(in crate::model) struct Weighted {
    /// `[n_stream n_embd]`: of all streams together; ones.
    pub(in crate::model) norm: Norm,
    /// `[n, n_stream n_embd]`: weights of inputs, then of outputs, then the matrix that streams are mixed by, if these
    /// are there.
    pub(in crate::model) map: Linear,
    /// One for each of these kinds.
    pub(in crate::model) scale: Vec<f32>,
    /// `[n]`.
    pub(in crate::model) base: Vec<f32>,
}

impl Weighted {
    /// As [`super::Hyper::gather`].
    pub(super) fn gather(
        &self,
        compute: Compute<'_>,
        spec: &HyperSpec,
        (stream, n): (&mut Stream, usize),
        scratch: &mut HyperScratch,
    ) {
        let HyperKind::Weighted { eps, magnitude, output_eps, n_balance, .. } = spec.kind else { return };
        let HyperScratch { width, streams, input, made, .. } = scratch;
        norm_into(Some(&self.norm), compute, &streams[..n * *width], Formats::of([&self.map.matrix]), input);
        let n_made = self.map.matrix.n_out();
        let x = input.for_consumer(&self.map.matrix, 0..n);
        compute.multiply([Product::of(&self.map, x, &mut made[..n * n_made])]);
        let (ops, n_stream) = (compute.kernels.ops(), spec.n_stream);
        scratch.for_each(compute, (stream, n), |row, (made, ..)| {
            let Row { number, streams, stream, given, .. } = row;
            let products = &made[number * n_made..][..n_made];
            let weight = |i: usize| {
                let kind = (i / n_stream).min(2);
                products[i] * self.scale[kind] + self.base[i]
            };
            stream.fill(0.0);
            for (k, from) in streams.chunks_exact(stream.len()).enumerate() {
                ops.add_scaled(stream, sigmoid(weight(k)) + eps, from);
            }
            if n_made == n_stream {
                return;
            }
            for (k, to) in given[..n_stream].iter_mut().enumerate() {
                *to = magnitude * sigmoid(weight(n_stream + k)) + output_eps;
            }
            let Some(n_balance) = n_balance else { return };
            let matrix = &mut given[n_stream..n_stream + n_stream * n_stream];
            matrix.iter_mut().enumerate().for_each(|(i, to)| *to = weight(2 * n_stream + i));
            for row in matrix.chunks_exact_mut(n_stream) {
                ops.softmax(row);
                row.iter_mut().for_each(|x| *x += eps);
            }
            balance(matrix, (n_stream, n_balance), eps);
        });
    }
}

const _: () = assert!(MAX_GIVEN == MAX_STREAMS + MAX_STREAMS * MAX_STREAMS);

/// Divides the columns of `matrix: [n, n]` by their sums, and then its rows and its columns in turn, until the columns
/// were divided `times` times (Sinkhorn and Knopp 1967).
fn balance(matrix: &mut [f32], (n, times): (usize, usize), eps: f32) {
    for time in 0..times {
        if time > 0 {
            for row in matrix.chunks_exact_mut(n) {
                let sum = row.iter().sum::<f32>() + eps;
                row.iter_mut().for_each(|x| *x /= sum);
            }
        }
        for column in 0..n {
            let sum = matrix.iter().skip(column).step_by(n).sum::<f32>() + eps;
            matrix.iter_mut().skip(column).step_by(n).for_each(|x| *x /= sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::balance;

    #[test]
    fn a_balanced_matrix_has_rows_and_columns_of_equal_sums() {
        let mut matrix = [0.9, 0.1, 0.0, 0.2, 0.3, 0.5, 0.4, 0.4, 0.2];
        balance(&mut matrix, (3, 50), 1e-9);
        for i in 0..3 {
            let row: f32 = matrix[3 * i..3 * i + 3].iter().sum();
            let column: f32 = matrix.iter().skip(i).step_by(3).sum();
            assert!((row - 1.0).abs() < 1e-4 && (column - 1.0).abs() < 1e-4, "{row} {column}");
        }
    }
}
