//! Alternating updates (Baykal et al. 2023, "Alternating Updates for Efficient Transformers"; Gemma 3n): a token has
//! several streams, of which a layer computes with one.
//!
//! ```text
//! before a layer:  m = tanh(W_r norm(s[active]) / n_embd);  p[k] = s[k] + sum of (W_p m)[k, j] s[j]
//! it computes with p[active], and leaves y
//! behind it:       m = tanh(W_r norm(y) / n_embd);  s[k] = p[k] + (1 + (W_c m)[k]) (y - p[active])
//! ```
//!
//! Beside attention runs a narrow part, LAuReL (Menghani et al. 2024), whose outputs are averaged with the stream.
//!
//! Streams begin as products of the first, and end as the mean of products, brought to its magnitude.

use super::norm::{Norm, norm_into};
use super::stream::Stream;
use crate::error::Result;
use crate::model::batch::Dimensions;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::spec::layer::MAX_STREAMS;
use crate::model::weights::{Linear, Matrix};

/// The least that a mean square is taken for, so that nothing is divided by zero: no configuration says it.
const LEAST_SQUARE: f32 = 1e-5;

/// What a layer does with several streams.
#[derive(Debug)]
pub(in crate::model) struct AltUp {
    /// The stream that the layer computes with.
    pub(in crate::model) active: usize,
    /// `[n_embd]`: of what the router looks at.
    pub(in crate::model) norm: Norm,
    /// `[n_stream, n_embd]`.
    pub(in crate::model) router: Vec<f32>,
    /// `[n_stream, n_stream, n_stream]`: for each stream, and each that it is made from, weights of what the router says.
    pub(in crate::model) predict: Vec<f32>,
    /// `[n_stream, n_stream]`.
    pub(in crate::model) correct: Vec<f32>,
    /// `[n_embd]`: multiplies the active stream for the per-layer embedding.
    pub(in crate::model) scale: Vec<f32>,
    pub(in crate::model) laurel: Laurel,
}

/// A narrow part beside attention: `x + norm(right(left(x)))`.
#[derive(Debug)]
pub(in crate::model) struct Laurel {
    /// `[rank, n_embd]`.
    pub(in crate::model) left: Linear,
    /// `[n_embd, rank]`.
    pub(in crate::model) right: Linear,
    /// `[n_embd]`.
    pub(in crate::model) norm: Norm,
}

/// How streams begin and end.
#[derive(Debug)]
pub(in crate::model) struct AltUpEnds {
    /// `[(n_stream - 1) n_embd, n_embd]`: makes the other streams of the first.
    pub(in crate::model) project: Linear,
    /// `[n_stream - 1]`: `[n_embd, n_embd]`, of each other stream.
    pub(in crate::model) unembed: Vec<Linear>,
}

/// The buffers of several streams.
#[derive(Debug)]
pub(in crate::model) struct AltUpScratch {
    n_embd: usize,
    /// Elements of all streams of a token.
    width: usize,
    /// `[n_batch, n_stream, n_embd]`: the streams, and what they are predicted to be.
    streams: Vec<f32>,
    /// `[n_batch, n_embd]`: the input of a matrix.
    input: Inputs,
    /// `[n_batch, rank]`.
    narrow: Inputs,
    /// `[n_batch, (n_stream - 1) n_embd]`: products.
    made: Vec<f32>,
    /// `[n_threads, n_stream n_embd]`.
    spares: Vec<Vec<f32>>,
}

impl AltUpScratch {
    /// Buffers for batches of these dimensions of streams of `n_embd` elements.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new<'a>(
        buffers: &mut Buffers,
        ends: &AltUpEnds,
        parts: impl Iterator<Item = &'a AltUp>,
        (dimensions, n_embd): (Dimensions, usize),
    ) -> Result<Self> {
        let Dimensions { n_batch, n_threads, .. } = dimensions;
        let n_other = ends.unembed.len();
        let width = (n_other + 1) * n_embd;
        let rights: Vec<_> = parts.map(|part| &part.laurel.right.matrix).collect();
        let rank = rights.iter().map(|right| right.n_in()).max().unwrap_or(0);
        let inputs = Formats::of(ends.unembed.iter().chain([&ends.project]).map(|linear| &linear.matrix));
        Ok(Self {
            n_embd,
            width,
            streams: buffers.zeroed(0.0, n_batch, width)?,
            input: Inputs::new(buffers, n_batch, n_embd, inputs)?,
            narrow: Inputs::new(buffers, n_batch, rank, Formats::of(rights))?,
            made: buffers.zeroed(0.0, n_batch, n_other.max(1) * n_embd)?,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, width, 1)).collect::<Result<_>>()?,
        })
    }

    /// Moves the streams of row `from` to row `to`.
    pub(in crate::model) fn move_row(&mut self, from: usize, to: usize) {
        self.streams.copy_within(from * self.width..(from + 1) * self.width, to * self.width);
    }

    /// Calls `body` for each of the first `n` rows of `stream`: with room for all streams of a token, with its streams,
    /// and with its row.
    fn for_each(
        &mut self,
        compute: Compute<'_>,
        (stream, n): (&mut Stream, usize),
        body: impl Fn(&mut [f32], &mut [f32], &mut [f32]) + Sync,
    ) {
        let Self { n_embd, width, streams, spares, .. } = self;
        let (n_embd, width) = (*n_embd, *width);
        let piece_len = compute.piece_len(n, 8 * width);
        let streams = RowsMut { values: &mut streams[..n * width], width };
        let parts = pieces(streams, piece_len).zip(pieces(stream.rows_mut(n), piece_len));
        type Part<'a> = (RowsMut<'a, f32>, RowsMut<'a, f32>);
        compute.for_each_with(
            8 * n * width,
            spares,
            parts,
            |spare: &mut Vec<f32>, (streams, rows): Part<'_>| {
                let rows = rows.values.chunks_exact_mut(n_embd);
                for (streams, row) in streams.values.chunks_exact_mut(width).zip(rows) {
                    body(&mut spare[..width], streams, row);
                }
            },
        );
    }

    /// Adds the rows of `stream` to all streams but the first.
    pub(in crate::model) fn add_to_others(&mut self, compute: Compute<'_>, n: usize, stream: &Stream) {
        let (width, n_embd) = (self.width, self.n_embd);
        let rows = self.streams[..n * width].chunks_exact_mut(width).zip(stream.rows(n).chunks(n_embd));
        compute.for_each(n * width, rows, |(streams, row): (&mut [f32], &[f32])| {
            for other in streams.chunks_exact_mut(n_embd).skip(1) {
                compute.kernels.ops().add(other, row);
            }
        });
    }
}

impl AltUpEnds {
    /// Makes the streams of the first `n` rows of `stream`.
    pub(in crate::model) fn begin(
        &self,
        compute: Compute<'_>,
        (stream, n): (&Stream, usize),
        scratch: &mut AltUpScratch,
    ) {
        let AltUpScratch { n_embd, width, streams, input, made, .. } = scratch;
        let (n_embd, width) = (*n_embd, *width);
        let project = &self.project;
        norm_into(None, compute, stream.rows(n), Formats::of([&project.matrix]), input);
        let made = &mut made[..n * (width - n_embd)];
        compute.multiply([Product::of(project, input.for_consumer(&project.matrix, 0..n), &mut *made)]);
        let rows = stream.rows(n).chunks_exact(n_embd).zip(made.chunks_exact(width - n_embd));
        let parts = streams[..n * width].chunks_exact_mut(width).zip(rows);
        type Part<'a> = (&'a mut [f32], (&'a [f32], &'a [f32]));
        compute.for_each(4 * n * width, parts, |(streams, (first, made)): Part<'_>| {
            let (to_first, others) = streams.split_at_mut(n_embd);
            to_first.copy_from_slice(first);
            others.copy_from_slice(made);
            let target = mean_square(compute, first).sqrt();
            for other in others.chunks_exact_mut(n_embd) {
                bring_to(compute, other, target);
            }
        });
    }

    /// Makes one stream of those of the first `n` rows, and leaves it in `stream`.
    pub(in crate::model) fn end(
        &self,
        compute: Compute<'_>,
        (stream, n): (&mut Stream, usize),
        scratch: &mut AltUpScratch,
    ) {
        let AltUpScratch { n_embd, width, streams, input, made, .. } = scratch;
        let (n_embd, width) = (*n_embd, *width);
        let streams = &streams[..n * width];
        for (row, streams) in stream.rows_mut(n).values.chunks_exact_mut(n_embd).zip(streams.chunks(width)) {
            row.copy_from_slice(&streams[..n_embd]);
        }
        let share = 1.0 / (self.unembed.len() + 1) as f32;
        for (k, unembed) in (1..).zip(&self.unembed) {
            for (row, streams) in input.floats_mut(0..n).chunks_exact_mut(n_embd).zip(streams.chunks(width)) {
                row.copy_from_slice(&streams[k * n_embd..][..n_embd]);
            }
            input.rows_mut(0..n).quantize(compute.kernels, Formats::of([&unembed.matrix]));
            let made = &mut made[..n * n_embd];
            let x = input.for_consumer(&unembed.matrix, 0..n);
            compute.multiply([Product::of(unembed, x, &mut *made)]);
            let rows = stream.rows_mut(n).values.chunks_exact_mut(n_embd);
            let parts = rows.zip(made.chunks_exact_mut(n_embd)).zip(streams.chunks(width));
            type Part<'a> = ((&'a mut [f32], &'a mut [f32]), &'a [f32]);
            compute.for_each(4 * n * n_embd, parts, |((row, made), streams): Part<'_>| {
                bring_to(compute, made, mean_square(compute, &streams[..n_embd]).sqrt());
                compute.kernels.ops().add(row, made);
            });
        }
        stream.rows_mut(n).values.iter_mut().for_each(|x| *x *= share);
    }
}

fn mean_square(compute: Compute<'_>, x: &[f32]) -> f32 {
    let mut sum = [0.0];
    compute.kernels.ops().dots_f32(x, x, &mut sum);
    sum[0] / x.len() as f32
}

/// Scales `x` so that the root of its mean square is `target`.
fn bring_to(compute: Compute<'_>, x: &mut [f32], target: f32) {
    let square = mean_square(compute, x);
    // Not `max`: NaN stays NaN.
    let own = if square < LEAST_SQUARE { LEAST_SQUARE } else { square }.sqrt();
    x.iter_mut().for_each(|x| *x = *x * target / own);
}

impl AltUp {
    /// Its matrices.
    pub(super) fn matrices(&self) -> [&Matrix; 2] {
        [&self.laurel.left.matrix, &self.laurel.right.matrix]
    }

    /// Streams of a token.
    fn n_stream(&self) -> usize {
        self.router.len() / self.norm.weight.len()
    }

    /// What the router says of `x: [n_embd]`, `out: [n_stream]`; `spare` has room for a row.
    fn route(&self, compute: Compute<'_>, x: &[f32], spare: &mut [f32], out: &mut [f32]) {
        let ops = compute.kernels.ops();
        let normed = &mut spare[..x.len()];
        self.norm.row(ops, x, 0, normed);
        let scale = 1.0 / x.len() as f32;
        normed.iter_mut().for_each(|x| *x *= scale);
        ops.dots_f32(normed, &self.router, out);
        // A cap of 1 is the hyperbolic tangent.
        ops.softcap(out, 1.0);
    }

    /// Predicts the streams of the first `n` rows, and leaves the active one in `stream`.
    pub(in crate::model) fn predict(
        &self,
        compute: Compute<'_>,
        rows: (&mut Stream, usize),
        scratch: &mut AltUpScratch,
    ) {
        let (n_stream, ops) = (self.n_stream(), compute.kernels.ops());
        scratch.for_each(compute, rows, |before, streams, row| {
            let n_embd = row.len();
            let mut says = [0.0; MAX_STREAMS];
            let says = &mut says[..n_stream];
            let active = self.active * n_embd..(self.active + 1) * n_embd;
            self.route(compute, &streams[active.clone()], before, says);
            before.copy_from_slice(streams);
            let pairs = self.predict.chunks_exact(n_stream * n_stream);
            for (to, weights) in streams.chunks_exact_mut(n_embd).zip(pairs) {
                for (from, weights) in before.chunks_exact(n_embd).zip(weights.chunks_exact(n_stream)) {
                    ops.add_scaled(to, dot(weights, says), from);
                }
            }
            row.copy_from_slice(&streams[active]);
        });
    }

    /// Corrects the streams of the first `n` rows by what the layer made of the active one in `stream`, and leaves there
    /// what the per-layer embedding gets.
    pub(in crate::model) fn correct(
        &self,
        compute: Compute<'_>,
        rows: (&mut Stream, usize),
        scratch: &mut AltUpScratch,
    ) {
        let (n_stream, ops) = (self.n_stream(), compute.kernels.ops());
        scratch.for_each(compute, rows, |spare, streams, row| {
            let n_embd = row.len();
            let mut says = [0.0; MAX_STREAMS];
            let says = &mut says[..n_stream];
            self.route(compute, row, spare, says);
            let active = self.active * n_embd..(self.active + 1) * n_embd;
            row.iter_mut().zip(&streams[active.clone()]).for_each(|(y, p)| *y -= p);
            let weights = self.correct.chunks_exact(n_stream);
            for (to, weights) in streams.chunks_exact_mut(n_embd).zip(weights) {
                ops.add_scaled(to, dot(weights, says) + 1.0, row);
            }
            for (out, (x, scale)) in row.iter_mut().zip(streams[active].iter().zip(&self.scale)) {
                *out = x * scale;
            }
        });
    }

    /// Averages the rows of `stream`, to which attention has added, with what the narrow part makes of `normed`, the
    /// input of attention: the sum over the root of two.
    pub(in crate::model) fn average(
        &self,
        compute: Compute<'_>,
        normed: &Inputs,
        (stream, n): (&mut Stream, usize),
        scratch: &mut AltUpScratch,
    ) {
        let Laurel { left, right, norm } = &self.laurel;
        let AltUpScratch { n_embd, narrow, made, spares, .. } = scratch;
        let n_embd = *n_embd;
        narrow.set_n_in(right.matrix.n_in());
        let x = normed.for_consumer(&left.matrix, 0..n);
        compute.multiply([Product::of(left, x, narrow.floats_mut(0..n))]);
        narrow.rows_mut(0..n).quantize(compute.kernels, Formats::of([&right.matrix]));
        let made = &mut made[..n * n_embd];
        compute.multiply([Product::of(right, narrow.for_consumer(&right.matrix, 0..n), &mut *made)]);
        let piece_len = compute.piece_len(n, 8 * n_embd);
        let made = pieces(RowsMut { values: made, width: n_embd }, piece_len);
        let inputs = made.zip(normed.floats(0..n).chunks(piece_len * n_embd));
        let parts = pieces(stream.rows_mut(n), piece_len).zip(inputs);
        type Part<'a> = (RowsMut<'a, f32>, (RowsMut<'a, f32>, &'a [f32]));
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (rows, (made, normed)): Part<'_>| {
            let inputs = made.values.chunks_exact_mut(n_embd).zip(normed.chunks_exact(n_embd));
            for (row, (made, normed)) in rows.values.chunks_exact_mut(n_embd).zip(inputs) {
                norm.in_place(ops, made, spare);
                ops.add(made, normed);
                ops.add(row, made);
                row.iter_mut().for_each(|x| *x *= core::f32::consts::FRAC_1_SQRT_2);
            }
        };
        compute.for_each_with(8 * n * n_embd, spares, parts, body);
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
