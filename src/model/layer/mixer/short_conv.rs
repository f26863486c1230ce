//! Gated short convolutions (LFM2): `out(c * conv(b * x))`.

use super::conv::{Channels, Conv};
use super::scratch::{RecurrentNeeds, RecurrentScratch};
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, RowsMut, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::rows::{Rows, span_lens};
use crate::model::layer::stream::{Residual, Stream};
use crate::model::product::Product;
use crate::model::spec::layer::ShortConvSpec;
use crate::model::weights::{Linear, Matrix};

/// A gated short convolution.
#[derive(Debug)]
pub(in crate::model) struct ShortConv {
    pub(in crate::model) spec: ShortConvSpec,
    /// `[3 n_embd, n_embd]`: b, c and x.
    pub(in crate::model) input: Linear,
    pub(in crate::model) conv: Conv,
    /// `[n_embd, n_embd]`.
    pub(in crate::model) output: Linear,
}

impl ShortConv {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of([&self.input.matrix])
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        vec![&self.input.matrix, &self.output.matrix]
    }

    /// What it needs buffers for.
    pub(in crate::model) fn needs(&self) -> RecurrentNeeds<'_> {
        let n_embd = self.spec.n_embd;
        RecurrentNeeds {
            n_projected: 3 * n_embd,
            n_convolved: n_embd,
            n_gate: 0,
            n_scalars: 0,
            n_out: n_embd,
            output: &self.output.matrix,
        }
    }

    /// Adds its output for `rows` to `stream` as `residual` says, and remembers the last of them; `input` holds the
    /// normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut RecurrentScratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let batch = rows.batch;
        let (n, n_embd) = (batch.n(), self.spec.n_embd);
        let RecurrentScratch { projected, convolved, outputs, .. } = scratch;
        let projected = &mut projected[..n * 3 * n_embd];
        let x = input.for_consumer(&self.input.matrix, 0..n);
        compute.multiply([Product::of(&self.input, x, &mut *projected)]);
        let projected = &*projected;
        // What is convolved: other rows need it as well.
        let convolved = &mut convolved[..n * n_embd];
        let piece_len = compute.piece_len(n, n_embd);
        let parts = pieces(RowsMut { values: &mut *convolved, width: n_embd }, piece_len).enumerate();
        compute.for_each(n * n_embd, parts, |(i, out): (usize, RowsMut<'_, f32>)| {
            let rows = projected[i * piece_len * 3 * n_embd..].chunks_exact(3 * n_embd);
            for (row, out) in rows.zip(out.values.chunks_exact_mut(n_embd)) {
                multiply(&row[..n_embd], &row[2 * n_embd..], out);
            }
        });
        let convolved = &*convolved;
        outputs.set_n_in(n_embd);
        let formats = Formats::of([&self.output.matrix]);
        let work = 8 * n * n_embd;
        let piece_len = compute.piece_len(n, 8 * n_embd);
        let lens = span_lens(batch);
        let spans = rows.spans().zip(pieces_of(outputs.rows_mut(0..n), lens));
        let parts = spans.flat_map(|(span, out)| {
            let rows = &convolved[span.first * n_embd..(span.first + span.n) * n_embd];
            let channels = Channels { rows, n_row: n_embd, first: 0, state: span.state.values };
            let parts = pieces(out, piece_len).enumerate();
            parts.map(move |(i, out)| (channels, span.first, i * piece_len, out))
        });
        type Part<'a> = (Channels<'a>, usize, usize, InputRows<'a>);
        compute.for_each(work, parts, |(channels, first, start, mut out): Part<'_>| {
            for (i, out) in (start..).zip(out.floats().chunks_exact_mut(n_embd)) {
                self.conv.row(compute.kernels.ops(), &channels, i, out);
                let c = &projected[(first + i) * 3 * n_embd + n_embd..][..n_embd];
                out.iter_mut().zip(c).for_each(|(out, c)| *out *= c);
            }
            out.quantize(compute.kernels, formats);
        });
        for span in rows.spans() {
            let rows = &convolved[span.first * n_embd..(span.first + span.n) * n_embd];
            self.conv.remember(rows, (n_embd, 0), span.state);
        }
        let outputs = outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }
}

/// `out = x * y`, element by element.
fn multiply(x: &[f32], y: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(x.iter().zip(y)).for_each(|(out, (x, y))| *out = x * y);
}
