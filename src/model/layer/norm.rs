//! Norms of rows: in front of parts, and of what they add to the stream.

use gguf_simd::ops;

use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::spec::layer::{NormKind, NormSpec};

/// A norm and its weights.
#[derive(Debug)]
pub(in crate::model) struct Norm {
    pub(in crate::model) spec: NormSpec,
    /// `[n]`; ones where the norm has none of its own.
    pub(in crate::model) weight: Vec<f32>,
    /// `[n]`.
    pub(in crate::model) bias: Option<Vec<f32>>,
}

impl Norm {
    /// What the kernels take.
    pub(super) fn as_op(&self) -> ops::Norm<'_> {
        match self.spec.kind {
            NormKind::Rms => ops::Norm::Rms { weight: &self.weight, eps: self.spec.eps },
            NormKind::Layer => {
                ops::Norm::Layer { weight: &self.weight, bias: self.bias.as_deref(), eps: self.spec.eps }
            }
        }
    }

    /// Norms `x: [n]` into `out: [n]` with the weights from the one numbered `first` on.
    pub(super) fn row(&self, ops: &ops::Ops, x: &[f32], first: usize, out: &mut [f32]) {
        let part = first..first + x.len();
        let weight = &self.weight[part.clone()];
        match self.spec.kind {
            NormKind::Rms => ops.rms_norm(x, weight, self.spec.eps, out),
            NormKind::Layer => {
                let bias = self.bias.as_ref().map(|bias| &bias[part]);
                ops.layer_norm(x, weight, bias, self.spec.eps, out);
            }
        }
    }

    /// Norms each of the rows `x: [.., n]` in place; `spare` has room for one.
    pub(in crate::model) fn in_place(&self, ops: &ops::Ops, x: &mut [f32], spare: &mut [f32]) {
        let n = self.weight.len();
        let spare = &mut spare[..n];
        for row in x.chunks_exact_mut(n) {
            spare.copy_from_slice(row);
            self.row(ops, spare, 0, row);
        }
    }
}

/// Norms `rows: [n, n_in]` into the first `n` rows of `out`, quantised into `formats`; without a norm they
/// are taken as they are.
pub(in crate::model) fn norm_into(
    norm: Option<&Norm>,
    compute: Compute<'_>,
    rows: &[f32],
    formats: Formats,
    out: &mut Inputs,
) {
    let n_in = out.n_in();
    let n = rows.len() / n_in;
    let piece_len = compute.piece_len(n, 4 * n_in);
    let parts = rows.chunks(piece_len * n_in).zip(pieces(out.rows_mut(0..n), piece_len));
    compute.for_each(4 * n * n_in, parts, |(rows, mut normed): (&[f32], InputRows<'_>)| match norm {
        Some(norm) => normed.for_each(formats, |i, out| {
            compute.kernels.norm(norm.as_op(), &rows[i * n_in..][..n_in], out);
        }),
        None => {
            normed.floats().copy_from_slice(rows);
            normed.quantize(compute.kernels, formats);
        }
    });
}
