//! Hyper-connections (Zhu et al. 2024): a token has several streams; what a part of a layer gets is made of all of them,
//! and what it gives is added to each with a weight.
//!
//! ```text
//! gated:     n[k] = norm(s[k]);  x = mean over k of sigmoid(W_up silu(W_down n / K))[k] n[k];  o = 2 sigmoid(W_inject n / K)
//! weighted:  n = norm(s);  i, o, m = W n times scales plus bases;  x = sum over k of (sigmoid(i[k]) + eps) s[k]
//! then:      s[k] = sum over j of m[j, k] s[j] + o[k] part(x), where m is balanced, or s[k] itself
//! ```
//!
//! All streams of a token lie in [`HyperScratch`]; the one that parts read and add to is the decoder's.

mod gated;
mod weighted;

use crate::error::Result;
use crate::model::batch::Dimensions;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, Inputs};
use crate::model::layer::stream::Stream;
use crate::model::memory::Buffers;
use crate::model::spec::layer::{HyperSpec, MAX_STREAMS};
use crate::model::weights::Matrix;

pub(in crate::model) use gated::Gated;
pub(in crate::model) use weighted::Weighted;

/// Numbers that belong to a token between the two halves of a part's turn, at most.
const MAX_GIVEN: usize = MAX_STREAMS + MAX_STREAMS * MAX_STREAMS;

/// A place where streams become one.
#[derive(Debug)]
pub(in crate::model) struct Hyper {
    pub(in crate::model) spec: HyperSpec,
    pub(in crate::model) kind: Kind,
}

/// How they do.
#[derive(Debug)]
pub(in crate::model) enum Kind {
    Gated(Gated),
    Weighted(Weighted),
    /// Their mean.
    Mean,
}

/// The places of a layer.
#[derive(Debug)]
pub(in crate::model) struct HyperLayer {
    /// In front of the mixer.
    pub(in crate::model) mixer: Hyper,
    /// In front of the feed-forward part.
    pub(in crate::model) ffn: Hyper,
}

/// All streams of the rows of a batch, and the buffers of what becomes of them.
#[derive(Debug)]
pub(in crate::model) struct HyperScratch {
    n_embd: usize,
    /// Elements of all streams of a token.
    width: usize,
    /// `[n_batch, n_stream, n_embd]`.
    streams: Vec<f32>,
    /// `[n_batch, n_stream n_embd]`: the normed streams.
    input: Inputs,
    /// `[n_batch, rank]`: what gates are made from.
    narrow: Inputs,
    /// `[n_batch, n_stream n_embd]`, or as many as there are weights: products.
    made: Vec<f32>,
    /// `[n_batch, n_stream]`: products that become weights of outputs.
    inject: Vec<f32>,
    /// `[n_batch]`: the weights of outputs, and the matrices that streams are mixed by.
    given: Vec<[f32; MAX_GIVEN]>,
    /// `[n_threads, n_stream n_embd]`.
    spares: Vec<Vec<f32>>,
}

/// A row of a batch at a place: its streams, the one that a part gets, and what is given back by.
struct Row<'a> {
    number: usize,
    streams: &'a mut [f32],
    stream: &'a mut [f32],
    given: &'a mut [f32; MAX_GIVEN],
    /// As long as all streams.
    spare: &'a mut [f32],
}

impl HyperScratch {
    /// Buffers for batches of these dimensions at any of `places`; `None` without places.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        places: &[&Hyper],
        Dimensions { n_batch, n_threads, .. }: Dimensions,
    ) -> Result<Option<Self>> {
        let Some(&HyperSpec { n_embd, n_stream, .. }) = places.iter().map(|place| &place.spec).next() else {
            return Ok(None);
        };
        let width = n_stream * n_embd;
        let (wide, narrow): (Vec<_>, Vec<_>) = places.iter().map(|place| place.consumers()).unzip();
        let rank = narrow.iter().flatten().map(|matrix| matrix.n_in()).max().unwrap_or(0);
        let n_made = places.iter().map(|place| place.n_made()).max().unwrap_or(0);
        let formats = |of: Vec<Vec<_>>| Formats::of(of.into_iter().flatten());
        Ok(Some(Self {
            n_embd,
            width,
            streams: buffers.zeroed(0.0, n_batch, width)?,
            input: Inputs::new(buffers, n_batch, width, formats(wide))?,
            narrow: Inputs::new(buffers, n_batch, rank, formats(narrow))?,
            made: buffers.zeroed(0.0, n_batch, n_made)?,
            inject: buffers.zeroed(0.0, n_batch, n_stream)?,
            given: buffers.zeroed([0.0; MAX_GIVEN], n_batch, 1)?,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, width, 1)).collect::<Result<_>>()?,
        }))
    }

    /// Starts all streams of the first `n` rows as copies of `stream`.
    pub(in crate::model) fn begin(&mut self, stream: &Stream, n: usize) {
        let rows = stream.rows(n).chunks_exact(self.n_embd);
        for (streams, row) in self.streams.chunks_exact_mut(self.width).zip(rows) {
            streams.chunks_exact_mut(self.n_embd).for_each(|stream| stream.copy_from_slice(row));
        }
    }

    /// All streams of the first `n` rows, `[n, n_stream n_embd]`.
    pub(in crate::model) fn streams_mut(&mut self, n: usize) -> RowsMut<'_, f32> {
        RowsMut { values: &mut self.streams[..n * self.width], width: self.width }
    }

    /// Moves what belongs to row `from` to row `to`.
    pub(in crate::model) fn move_row(&mut self, from: usize, to: usize) {
        self.streams.copy_within(from * self.width..(from + 1) * self.width, to * self.width);
        self.given.copy_within(from..from + 1, to);
    }

    /// Calls `body` for each of the first `n` rows, with the products, the normed streams and those that become weights.
    fn for_each(
        &mut self,
        compute: Compute<'_>,
        (stream, n): (&mut Stream, usize),
        body: impl Fn(Row<'_>, (&[f32], &Inputs, &[f32])) + Sync,
    ) {
        let Self { n_embd, width, streams, input, made, inject, given, spares, .. } = self;
        let (n_embd, width, input, made, inject) = (*n_embd, *width, &*input, &**made, &**inject);
        let piece_len = compute.piece_len(n, 16 * width);
        let streams = pieces(RowsMut { values: &mut streams[..n * width], width }, piece_len);
        let given = given[..n].chunks_mut(piece_len);
        let parts = streams.zip(pieces(stream.rows_mut(n), piece_len)).zip(given).enumerate();
        type Part<'a> = (usize, ((RowsMut<'a, f32>, RowsMut<'a, f32>), &'a mut [[f32; MAX_GIVEN]]));
        let run = |spare: &mut Vec<f32>, (i, ((streams, rows), given)): Part<'_>| {
            let rows = streams.values.chunks_exact_mut(width).zip(rows.values.chunks_exact_mut(n_embd));
            for (j, ((streams, stream), given)) in rows.zip(given).enumerate() {
                let spare = &mut spare[..width];
                let row = Row { number: i * piece_len + j, streams, stream, given, spare };
                body(row, (made, input, inject));
            }
        };
        compute.for_each_with(16 * n * width, spares, parts, run);
    }
}

impl Hyper {
    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        let (wide, narrow) = self.consumers();
        [wide, narrow].concat()
    }

    /// The matrices that are multiplied with normed streams, and with what gates are made from.
    fn consumers(&self) -> (Vec<&Matrix>, Vec<&Matrix>) {
        match &self.kind {
            Kind::Gated(gated) => {
                let wide = [&gated.down].into_iter().chain(&gated.inject);
                (wide.map(|linear| &linear.matrix).collect(), vec![&gated.up.matrix])
            }
            Kind::Weighted(weighted) => (vec![&weighted.map.matrix], Vec::new()),
            Kind::Mean => (Vec::new(), Vec::new()),
        }
    }

    /// Elements of the products of a row.
    fn n_made(&self) -> usize {
        match &self.kind {
            Kind::Gated(gated) => gated.up.matrix.n_out().max(gated.up.matrix.n_in()),
            Kind::Weighted(weighted) => weighted.map.matrix.n_out(),
            Kind::Mean => 0,
        }
    }

    /// Makes what a part gets of the streams of the first `n` rows, and leaves it in `stream`.
    pub(in crate::model) fn gather(
        &self,
        compute: Compute<'_>,
        (stream, n): (&mut Stream, usize),
        scratch: &mut HyperScratch,
    ) {
        match &self.kind {
            Kind::Gated(gated) => gated.gather(compute, (stream, n), scratch),
            Kind::Weighted(weighted) => weighted.gather(compute, &self.spec, (stream, n), scratch),
            Kind::Mean => scratch.for_each(compute, (stream, n), |row, _| {
                let scale = row.stream.len() as f32 / row.streams.len() as f32;
                row.stream.fill(0.0);
                for stream in row.streams.chunks_exact(row.stream.len()) {
                    compute.kernels.ops().add(row.stream, stream);
                }
                row.stream.iter_mut().for_each(|x| *x *= scale);
            }),
        }
    }

    /// Gives what a part made, which is in `stream`, to the streams of the first `n` rows.
    pub(in crate::model) fn spread(
        &self,
        compute: Compute<'_>,
        (stream, n): (&mut Stream, usize),
        scratch: &mut HyperScratch,
    ) {
        let (ops, is_balanced) = (compute.kernels.ops(), self.spec.is_balanced());
        scratch.for_each(compute, (stream, n), |row, _| {
            let Row { streams, stream, given, spare, .. } = row;
            let (n_embd, n_stream) = (stream.len(), streams.len() / stream.len());
            if is_balanced {
                spare.copy_from_slice(streams);
                streams.fill(0.0);
                let weights = given[n_stream..].chunks_exact(n_stream);
                for (before, weights) in spare.chunks_exact(n_embd).zip(weights) {
                    for (to, &weight) in streams.chunks_exact_mut(n_embd).zip(weights) {
                        ops.add_scaled(to, weight, before);
                    }
                }
            }
            for (to, &weight) in streams.chunks_exact_mut(n_embd).zip(&given[..n_stream]) {
                ops.add_scaled(to, weight, stream);
            }
        });
    }
}

impl HyperLayer {
    /// Its places.
    pub(in crate::model) fn places(&self) -> [&Hyper; 2] {
        [&self.mixer, &self.ffn]
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}
