//! What becomes of the streams of texts that were pooled: matrices one after the other, or scores of classes.

use super::Norm;
use crate::error::Result;
use crate::model::compute::Compute;
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::spec::{ClassifierActivation, ClassifierSpec};
use crate::model::weights::{Linear, Matrix};

/// What pooled streams go through.
#[derive(Debug)]
pub(in crate::model) struct Pooled {
    /// One after the other.
    pub(in crate::model) dense: Vec<Linear>,
    pub(in crate::model) classifier: Option<Classifier>,
}

/// Scores of classes.
#[derive(Debug)]
pub(in crate::model) struct Classifier {
    pub(in crate::model) spec: ClassifierSpec,
    pub(in crate::model) inner: Option<Linear>,
    pub(in crate::model) norm: Option<Norm>,
    pub(in crate::model) output: Option<Linear>,
}

impl Pooled {
    /// Their matrices.
    pub(in crate::model) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let classifier = self.classifier.iter().flat_map(|of| of.inner.iter().chain(&of.output));
        self.dense.iter().chain(classifier).map(|linear| &linear.matrix)
    }

    /// Takes `rows: [n, n_in]` through the matrices; returns rows of the last one's width.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if there is no memory for them.
    pub(in crate::model) fn project(
        &self,
        compute: Compute<'_>,
        rows: Vec<f32>,
        n: usize,
    ) -> Result<Vec<f32>> {
        self.dense.iter().try_fold(rows, |rows, linear| multiplied(compute, linear, &rows, n))
    }
}

impl Classifier {
    /// Whether a file has anything of it.
    pub(in crate::model) fn is_there(&self) -> bool {
        self.inner.is_some() || self.output.is_some()
    }

    /// The scores of `n` pooled streams: `[n, n_classes]`.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if there is no memory for them.
    pub(in crate::model) fn scores(
        &self,
        compute: Compute<'_>,
        mut rows: Vec<f32>,
        n: usize,
    ) -> Result<Vec<f32>> {
        if let Some(inner) = &self.inner {
            rows = multiplied(compute, inner, &rows, n)?;
            rows.iter_mut().for_each(|x| *x = activated(self.spec.activation, *x));
            if let Some(norm) = &self.norm {
                let mut spare = vec![0.0; norm.weight.len()];
                norm.in_place(compute.kernels.ops(), &mut rows, &mut spare);
            }
        }
        if let Some(output) = &self.output {
            rows = multiplied(compute, output, &rows, n)?;
        }
        if self.spec.is_softmax {
            rows.chunks_exact_mut(self.spec.n_classes).for_each(softmax);
        }
        Ok(rows)
    }
}

fn activated(activation: ClassifierActivation, x: f32) -> f32 {
    match activation {
        ClassifierActivation::Tanh => libm::tanhf(x),
        ClassifierActivation::Gelu => 0.5 * x * (1.0 + libm::erff(x * core::f32::consts::FRAC_1_SQRT_2)),
    }
}

fn softmax(row: &mut [f32]) {
    let max = row.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    row.iter_mut().for_each(|x| *x = libm::expf(*x - max));
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

/// The product of `linear` with `rows: [n, n_in]`.
fn multiplied(compute: Compute<'_>, linear: &Linear, rows: &[f32], n: usize) -> Result<Vec<f32>> {
    let formats = Formats::of([&linear.matrix]);
    let mut buffers = Buffers::real();
    let mut inputs = Inputs::new(&mut buffers, n, linear.matrix.n_in(), formats)?;
    let mut written = inputs.rows_mut(0..n);
    written.floats().copy_from_slice(rows);
    written.quantize(compute.kernels, formats);
    let mut out = buffers.zeroed(0.0, n, linear.matrix.n_out())?;
    compute.multiply([Product::of(linear, inputs.for_consumer(&linear.matrix, 0..n), &mut out)]);
    Ok(out)
}
