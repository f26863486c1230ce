//! What a table of n-grams adds to the streams of a token (Qwen4, "PLE").
//!
//! ```text
//! e = the rows that the hashes of the n-grams name;  v = W_v e;  g[k] = f(norm(W_k e)[k] . norm(s)[k] / sqrt(n_embd)) v
//! s[k] += g[k] + silu(conv(norm(g)[k])),  where f(x) = sigmoid(sign(x) sqrt(|x|))
//! ```
//!
//! A hash is the exclusive or of the tokens, each times a number of its own, modulo the rows that it has. N-grams do not
//! reach across the end of a text. The convolution looks back by whole lengths of the longest n-gram.

use std::ops::Range;

use gguf_simd::ops::{Gate, MAX_TAPS, Ops};

use super::hyper::HyperScratch;
use super::norm::Norm;
use super::rows::Rows;
use crate::error::Result;
use crate::limits::MAX_NGRAM;
use crate::model::batch::{BatchPart, Dimensions, Token};
use crate::model::compute::{Compute, RowsMut, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::rows::span_lens;
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::spec::layer::NgramSpec;
use crate::model::weights::{Linear, Matrix};

/// The least magnitude that a root is taken of: no configuration says it.
const LEAST: f32 = 1e-6;

/// What a table of n-grams adds.
#[derive(Debug)]
pub(in crate::model) struct Ngram {
    pub(in crate::model) spec: NgramSpec,
    /// `[n_rows, row_len]`, of which rows are read from the file.
    pub(in crate::model) table: Matrix,
    /// `[n_stream n_embd, n_embedded]`.
    pub(in crate::model) key: Linear,
    /// `[n_embd, n_embedded]`.
    pub(in crate::model) value: Linear,
    /// `[n_stream n_embd]`, as the others.
    pub(in crate::model) key_norm: Norm,
    pub(in crate::model) stream_norm: Norm,
    pub(in crate::model) conv_norm: Norm,
    /// `[n_taps, n_stream n_embd]`, the oldest first.
    pub(in crate::model) taps: Vec<f32>,
}

/// The buffers of that.
#[derive(Debug)]
pub(in crate::model) struct NgramScratch {
    /// `[n_batch, n_embedded]`.
    embedded: Inputs,
    /// `[n_batch, n_stream n_embd]`: keys, then gated values.
    gated: Vec<f32>,
    /// `[n_batch, n_stream n_embd]`: what is convolved.
    normed: Vec<f32>,
    /// `[n_batch, n_embd]`.
    values: Vec<f32>,
    /// `[n_threads, 2 n_stream n_embd]`.
    spares: Vec<Vec<f32>>,
}

/// The tokens of a sequence up to a row: those of the batch, and what is remembered of those before, one more than their
/// numbers, and zero where there are none.
#[derive(Clone, Copy)]
struct Past<'a> {
    tokens: &'a [Token],
    before: &'a [f32],
}

impl NgramScratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[&Ngram],
        Dimensions { n_batch, n_threads, .. }: Dimensions,
    ) -> Result<Option<Self>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let most = |of: fn(&NgramSpec) -> usize| parts.iter().map(|part| of(&part.spec)).max().unwrap_or(0);
        let width = most(NgramSpec::width);
        let formats = Formats::of(parts.iter().flat_map(|part| part.matrices()));
        Ok(Some(Self {
            embedded: Inputs::new(buffers, n_batch, most(NgramSpec::n_embedded), formats)?,
            gated: buffers.zeroed(0.0, n_batch, width)?,
            normed: buffers.zeroed(0.0, n_batch, width)?,
            values: buffers.zeroed(0.0, n_batch, most(|spec| spec.n_embd))?,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, 2, width)).collect::<Result<_>>()?,
        }))
    }
}

impl Past<'_> {
    /// The token `back` positions before row `i`, if the text has it.
    fn token(&self, i: usize, back: usize) -> Option<u32> {
        match i.checked_sub(back) {
            Some(at) => Some(self.tokens[at].id),
            None => {
                let stored = self.before[self.before.len() + i - back];
                (stored >= 1.0).then(|| stored as u32 - 1)
            }
        }
    }
}

impl Ngram {
    /// Its matrices, but for the table.
    pub(in crate::model) fn matrices(&self) -> [&Matrix; 2] {
        [&self.key.matrix, &self.value.matrix]
    }

    /// Adds to the streams of the rows, and remembers the last of them at the start of the layer's state.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        streams: &mut HyperScratch,
        scratch: &mut NgramScratch,
    ) {
        let (batch, n_embd, width) = (rows.batch, self.spec.n_embd, self.spec.width());
        let n = batch.n();
        self.embed(compute, rows, scratch);
        let NgramScratch { embedded, gated, values, .. } = scratch;
        let of = |linear: &'_ Linear| embedded.for_consumer(&linear.matrix, 0..n);
        compute.multiply([
            Product::of(&self.key, of(&self.key), &mut gated[..n * width]),
            Product::of(&self.value, of(&self.value), &mut values[..n * n_embd]),
        ]);
        self.gate(compute, (streams, n), scratch);
        self.convolve(compute, rows, streams, scratch);
        let normed = &scratch.normed[..n * width];
        for span in rows.spans_from(0) {
            let tokens = &batch.tokens[span.first..span.first + span.n];
            let normed = &normed[span.first * width..(span.first + span.n) * width];
            span.state.split_at(self.spec.state_len()).0.walk(span.n, |positions, state| {
                let (ids, history) = state.split_at_mut(self.spec.n_tokens());
                remember((ids, 1), positions.clone(), |at, to| to[0] = (tokens[at].id + 1) as f32);
                remember((history, width), positions, |at, to| {
                    to.copy_from_slice(&normed[at * width..(at + 1) * width]);
                });
            });
        }
    }

    /// Looks the rows of the table up.
    fn embed<P: BatchPart>(&self, compute: Compute<'_>, rows: &mut Rows<'_, P>, scratch: &mut NgramScratch) {
        let (batch, n_embedded) = (rows.batch, self.spec.n_embedded());
        let n = batch.n();
        let formats = Formats::of(self.matrices());
        let embedded = &mut scratch.embedded;
        embedded.set_n_in(n_embedded);
        let piece_len = compute.piece_len(n, 8 * n_embedded);
        let spans = rows.spans_from(0).zip(pieces_of(embedded.rows_mut(0..n), span_lens(batch)));
        let parts = spans.flat_map(|(span, out)| {
            let tokens = &batch.tokens[span.first..span.first + span.n];
            let past = Past { tokens, before: &span.state.values[..self.spec.n_tokens()] };
            pieces(out, piece_len).enumerate().map(move |(i, out)| (past, i * piece_len, out))
        });
        type Part<'a> = (Past<'a>, usize, InputRows<'a>);
        compute.for_each(8 * n * n_embedded, parts, |(past, start, mut out): Part<'_>| {
            for (i, out) in (start..).zip(out.floats().chunks_exact_mut(n_embedded)) {
                for (row, out) in self.hashed(past, i).zip(out.chunks_exact_mut(self.spec.row_len)) {
                    let row = self.table.rows(row..row + 1);
                    compute.kernels.decode(row.block_type, row.bytes, out);
                }
            }
            out.quantize(compute.kernels, formats);
        });
    }

    /// The rows of the table that the n-grams which end at row `i` name.
    fn hashed(&self, past: Past<'_>, i: usize) -> impl Iterator<Item = usize> {
        let spec = &self.spec;
        let mut mixed = [0u64; MAX_NGRAM];
        let (mut hash, mut is_cut) = (0, false);
        for (back, multiplier) in spec.multipliers.iter().enumerate() {
            let token = if is_cut { None } else { past.token(i, back) };
            // The end of a text does not cut off what is before itself.
            is_cut = back > 0 && token.is_none_or(|token| token == spec.end);
            hash ^= u64::from(token.unwrap_or(spec.end)).wrapping_mul(*multiplier);
            mixed[back] = hash;
        }
        let n_each = spec.hashes.len() / spec.n_tokens();
        spec.hashes
            .iter()
            .enumerate()
            .map(move |(h, &(first, n))| (first + mixed[h / n_each + 1] % n) as usize)
    }

    /// Gates the values of the first `n` rows for each stream, and norms them for the convolution.
    fn gate(
        &self,
        compute: Compute<'_>,
        (streams, n): (&mut HyperScratch, usize),
        scratch: &mut NgramScratch,
    ) {
        let (n_embd, width) = (self.spec.n_embd, self.spec.width());
        let NgramScratch { gated, normed, values, spares, .. } = scratch;
        let piece_len = compute.piece_len(n, 16 * width);
        let of = |values| pieces(RowsMut { values, width }, piece_len);
        let values = values[..n * n_embd].chunks(piece_len * n_embd);
        let outs = of(&mut gated[..n * width]).zip(of(&mut normed[..n * width]));
        let parts = pieces(streams.streams_mut(n), piece_len).zip(outs).zip(values);
        type Outs<'a> = (RowsMut<'a, f32>, RowsMut<'a, f32>);
        type Part<'a> = ((RowsMut<'a, f32>, Outs<'a>), &'a [f32]);
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, ((streams, (gated, normed)), values): Part<'_>| {
            let (key, query) = spare[..2 * n_embd].split_at_mut(n_embd);
            let all = streams.values.chunks_exact(n_embd).zip(gated.values.chunks_exact_mut(n_embd));
            for (i, ((stream, gated), normed)) in all.zip(normed.values.chunks_exact_mut(n_embd)).enumerate()
            {
                let (first, row) = (i * n_embd % width, i / self.spec.n_stream);
                self.key_norm.row(ops, gated, first, key);
                self.stream_norm.row(ops, stream, first, query);
                let weight = answer(ops, key, query);
                let value = &values[row * n_embd..(row + 1) * n_embd];
                gated.iter_mut().zip(value).for_each(|(to, value)| *to = weight * value);
                self.conv_norm.row(ops, gated, first, normed);
            }
        };
        compute.for_each_with(16 * n * width, spares, parts, body);
    }

    /// Convolves what was normed, and adds it and the gated values to the streams.
    fn convolve<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        streams: &mut HyperScratch,
        scratch: &mut NgramScratch,
    ) {
        let (batch, spec, width) = (rows.batch, &self.spec, self.spec.width());
        let n = batch.n();
        let NgramScratch { gated, normed, spares, .. } = scratch;
        let (gated, normed) = (&gated[..n * width], &normed[..n * width]);
        let piece_len = compute.piece_len(n, 16 * width);
        let history = spec.n_tokens()..spec.state_len();
        let spans = rows.spans_from(0).zip(pieces_of(streams.streams_mut(n), span_lens(batch)));
        let parts = spans.flat_map(|(span, out)| {
            let of_span = span.first * width..(span.first + span.n) * width;
            let (before, first) = (&span.state.values[history.clone()], span.first);
            let now = &normed[of_span];
            pieces(out, piece_len).enumerate().map(move |(i, out)| ((before, now), first, i * piece_len, out))
        });
        type Part<'a> = ((&'a [f32], &'a [f32]), usize, usize, RowsMut<'a, f32>);
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, ((before, now), first, start, out): Part<'_>| {
            let (raw, convolved) = spare[..2 * width].split_at_mut(width);
            for (i, streams) in (start..).zip(out.values.chunks_exact_mut(width)) {
                let mut taps: [&[f32]; MAX_TAPS] = [&[]; MAX_TAPS];
                for (j, tap) in taps[..spec.n_taps].iter_mut().enumerate() {
                    // Of the history and the rows behind it.
                    let at = i + j * spec.n_gram;
                    *tap = match at.checked_sub(spec.n_history()) {
                        Some(at) => &now[at * width..][..width],
                        None => &before[at * width..][..width],
                    };
                }
                ops.conv(&taps[..spec.n_taps], &self.taps, None, raw);
                ops.activate(Gate::Silu, raw, convolved);
                ops.add(convolved, &gated[(first + i) * width..][..width]);
                ops.add(streams, convolved);
            }
        };
        compute.for_each_with(16 * n * width, spares, parts, body);
    }
}

/// How far a stream answers to a key.
fn answer(ops: &Ops, key: &[f32], query: &[f32]) -> f32 {
    let mut dot = [0.0];
    ops.dots_f32(key, query, &mut dot);
    let x = dot[0] / (key.len() as f32).sqrt();
    // Not `max`: NaN stays NaN. Of zero the sign is zero.
    let magnitude = if x.abs() < LEAST { LEAST } else { x.abs() }.sqrt();
    let x = if x == 0.0 { 0.0 } else { magnitude.copysign(x) };
    1.0 / (1.0 + libm::expf(-x))
}

/// Moves what `held`, in rows of `width`, has of the positions before to the front, and lets `write` write the last of
/// `positions` behind it.
fn remember((held, width): (&mut [f32], usize), positions: Range<usize>, write: impl Fn(usize, &mut [f32])) {
    let n_held = held.len() / width;
    let n_kept = n_held.saturating_sub(positions.len());
    held.copy_within((n_held - n_kept) * width.., 0);
    let new = held[n_kept * width..].chunks_exact_mut(width);
    (positions.end - (n_held - n_kept)..).zip(new).for_each(|(at, to)| write(at, to));
}
