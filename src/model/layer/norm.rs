//! Norms in front of parts.

use gguf_simd::ops;

use super::Stream;
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::spec::layer::NormSpec;

/// A norm and its weights.
#[derive(Debug)]
pub(in crate::model) struct Norm {
    pub(in crate::model) spec: NormSpec,
    /// `[n_embd]`.
    pub(in crate::model) weight: Vec<f32>,
}

impl Norm {
    /// Norms the first `n` rows of `stream` into `out`, quantised into `formats`.
    pub(in crate::model) fn step(
        &self,
        compute: Compute<'_>,
        stream: &Stream,
        n: usize,
        formats: Formats,
        out: &mut Inputs,
    ) {
        let n_embd = stream.n_embd();
        let norm = ops::Norm::Rms { weight: &self.weight, eps: self.spec.eps };
        let piece_len = compute.piece_len(n, 4 * n_embd);
        let rows = stream.rows(n).chunks(piece_len * n_embd);
        let parts = rows.zip(pieces(out.rows_mut(0..n), piece_len));
        compute.for_each(4 * n * n_embd, parts, |(rows, mut normed): (&[f32], InputRows<'_>)| {
            normed.for_each(formats, |i, out| {
                compute.kernels.norm(norm, &rows[i * n_embd..][..n_embd], out);
            });
        });
    }
}
