//! Streams that are gated element by element (Qwen4).

use gguf_simd::ops::Gate;

use super::{HyperScratch, Row, sigmoid};
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows};
use crate::model::layer::norm::Norm;
use crate::model::layer::stream::Stream;
use crate::model::product::Product;
use crate::model::weights::Linear;

/// The weights of such a place.
#[derive(Debug)]
pub(in crate::model) struct Gated {
    /// `[n_stream n_embd]`: of each stream for itself.
    pub(in crate::model) norm: Norm,
    /// `[rank, n_stream n_embd]`.
    pub(in crate::model) down: Linear,
    /// `[n_stream n_embd, rank]`.
    pub(in crate::model) up: Linear,
    /// `[n_stream, n_stream n_embd]`; `None` where nothing is given back.
    pub(in crate::model) inject: Option<Linear>,
}

impl Gated {
    /// As [`super::Hyper::gather`].
    pub(super) fn gather(
        &self,
        compute: Compute<'_>,
        (stream, n): (&mut Stream, usize),
        scratch: &mut HyperScratch,
    ) {
        let n_stream = scratch.width / scratch.n_embd;
        let share = 1.0 / n_stream as f32;
        self.norm(compute, n, scratch);
        self.multiply(compute, (n, share), scratch);
        let (ops, gives) = (compute.kernels.ops(), self.inject.is_some());
        scratch.for_each(compute, (stream, n), |row, (made, input, inject)| {
            let Row { number, stream, given, spare, .. } = row;
            let (n_embd, width) = (stream.len(), spare.len());
            let (gates, normed) = (&made[number * width..][..width], input.floats(number..number + 1));
            ops.gated(Gate::Sigmoid, gates, normed, spare);
            stream.fill(0.0);
            spare.chunks_exact(n_embd).for_each(|part| ops.add(stream, part));
            stream.iter_mut().for_each(|x| *x *= share);
            if gives {
                let products = &inject[number * n_stream..][..n_stream];
                given.iter_mut().zip(products).for_each(|(to, x)| *to = 2.0 * sigmoid(x * share));
            }
        });
    }

    /// Norms each stream of the first `n` rows for itself.
    fn norm(&self, compute: Compute<'_>, n: usize, scratch: &mut HyperScratch) {
        let HyperScratch { n_embd, width, streams, input, .. } = scratch;
        let (n_embd, width) = (*n_embd, *width);
        let consumers = [&self.down].into_iter().chain(&self.inject);
        let formats = Formats::of(consumers.map(|linear| &linear.matrix));
        let piece_len = compute.piece_len(n, 4 * width);
        let parts =
            streams[..n * width].chunks(piece_len * width).zip(pieces(input.rows_mut(0..n), piece_len));
        let ops = compute.kernels.ops();
        compute.for_each(4 * n * width, parts, |(streams, mut normed): (&[f32], InputRows<'_>)| {
            let normed_streams = normed.floats().chunks_exact_mut(n_embd);
            for (i, (stream, normed)) in streams.chunks_exact(n_embd).zip(normed_streams).enumerate() {
                self.norm.row(ops, stream, i * n_embd % width, normed);
            }
            normed.quantize(compute.kernels, formats);
        });
    }

    /// The products of the normed streams of the first `n` rows, and those of what they become.
    fn multiply(&self, compute: Compute<'_>, (n, share): (usize, f32), scratch: &mut HyperScratch) {
        let HyperScratch { width, input, narrow, made, inject, .. } = scratch;
        let rank = self.up.matrix.n_in();
        narrow.set_n_in(rank);
        let of = |linear: &'_ Linear| input.for_consumer(&linear.matrix, 0..n);
        let down = Product::of(&self.down, of(&self.down), &mut made[..n * rank]);
        let inject = self.inject.as_ref().map(|linear| {
            let n_out = linear.matrix.n_out();
            Product::of(linear, of(linear), &mut inject[..n * n_out])
        });
        compute.multiply_some([Some(down), inject]);
        let formats = Formats::of([&self.up.matrix]);
        let piece_len = compute.piece_len(n, 16 * rank);
        let parts =
            made[..n * rank].chunks_mut(piece_len * rank).zip(pieces(narrow.rows_mut(0..n), piece_len));
        let ops = compute.kernels.ops();
        compute.for_each(16 * n * rank, parts, |(made, mut rows): (&mut [f32], InputRows<'_>)| {
            made.iter_mut().for_each(|x| *x *= share);
            ops.activate(Gate::Silu, made, rows.floats());
            rows.quantize(compute.kernels, formats);
        });
        let up = narrow.for_consumer(&self.up.matrix, 0..n);
        compute.multiply([Product::of(&self.up, up, &mut made[..n * *width])]);
    }
}
