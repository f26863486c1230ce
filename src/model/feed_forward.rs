//! The gated feed-forward part: `down(activation(gate(x)) * up(x))`.

use super::compute::{Compute, pieces};
use super::decoder::Decoder;
use super::inputs::{Formats, InputRows};
use super::product::Product;
use super::weights::{Gated, LayerWeights};
use super::workspace::{FeedForwardSpace, Workspace};

impl Decoder {
    /// Adds a dense feed-forward part to the residual stream of the first `n` rows.
    pub(super) fn feed_forward(
        &self,
        compute: Compute<'_>,
        layer: &LayerWeights,
        part: &Gated,
        space: &mut Workspace,
        n: usize,
    ) {
        let n_ff = self.hparams.n_ff;
        let (gate, up) = (&part.gate.matrix, &part.up.matrix);
        self.norm(compute, &layer.ffn_norm, Formats::of([gate, up]), space, n);
        let hidden = &mut space.feed_forward;
        compute.multiply([
            Product::of(&part.gate, space.normed.for_consumer(gate, 0..n), &mut hidden.gate[..n * n_ff]),
            Product::of(&part.up, space.normed.for_consumer(up, 0..n), &mut hidden.up[..n * n_ff]),
        ]);
        self.activate(compute, Formats::of([&part.down.matrix]), hidden, n);
        let x = hidden.hidden.for_consumer(&part.down.matrix, 0..n);
        let stream = 0..n * self.hparams.n_embd;
        let product = Product::of(&part.down, x, &mut space.delta[stream.clone()]);
        compute.multiply([product.add_to(&mut space.residual[stream])]);
    }

    /// Combines the first `n_rows` rows of gate and up, and quantises the result into `formats`.
    pub(super) fn activate(
        &self,
        compute: Compute<'_>,
        formats: Formats,
        space: &mut FeedForwardSpace,
        n_rows: usize,
    ) {
        let n_ff = self.hparams.n_ff;
        // An exponential and a quantisation take about as long as 16 multiply-adds of a matrix.
        let piece_len = compute.piece_len(n_rows, 16 * n_ff);
        let (gate, up) = (&space.gate, &space.up);
        let parts = pieces(space.hidden.rows_mut(0..n_rows), piece_len).enumerate();
        compute.for_each(16 * n_rows * n_ff, parts, |(i, mut rows): (usize, InputRows<'_>)| {
            rows.for_each(formats, |row, out| {
                let first = (i * piece_len + row) * n_ff;
                let values = first..first + n_ff;
                compute.kernels.gated(self.wiring.gate, &gate[values.clone()], &up[values], out);
            });
        });
    }
}
