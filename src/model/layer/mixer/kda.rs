//! Kimi's delta-net (Moonshot AI 2025, "Kimi Linear").
//!
//! ```text
//! q, k, v = silu(conv(W x)) each;  q and k of unit length, q divided by the root of its own
//! w = exp(a softplus(F2 F1 x + t)) for each row of the matrix, or exp(bound sigmoid(a (F x + t)));  b = sigmoid(W_b x)
//! o = rule with a decay for each row (`gguf_simd::ops`), which looks for -w k and corrects by b k
//! y = W_o (norm(o) sigmoid(G2 G1 x)), or sigmoid(G x)
//! ```
//!
//! Three regions lie between the products: rows are convolved and become what heads walk by, heads walk the positions of
//! each sequence, a head on one thread, and outputs are normed and gated.

use gguf_simd::ops::{Gate, Ops};

use super::conv::{Channels, Conv};
use super::heads::softplus;
use super::row_heads::RowHeads;
use crate::error::Result;
use crate::model::batch::{BatchPart, Dimensions};
use crate::model::compute::{Compute, RowsMut, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::{Rows, span_lens};
use crate::model::layer::stream::{Residual, Stream};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::KdaSpec;
use crate::model::weights::{Linear, Matrix};

/// Added to the squared length of queries and keys: no configuration says it.
const LENGTH_EPS: f32 = 1e-6;

/// Vectors of a row that heads walk by: queries, decays, keys times their strengths, what is looked for, values.
const N_WALKED: usize = 5;

/// Kimi's delta-net.
#[derive(Debug)]
pub(in crate::model) struct Kda {
    pub(in crate::model) spec: KdaSpec,
    /// Of queries, keys and values, `[n_inner, n_embd]` each.
    pub(in crate::model) inputs: [Linear; 3],
    pub(in crate::model) convs: [Conv; 3],
    /// `[head_dim, n_embd]`, if there is one, and `[n_inner, head_dim]`, or else `[n_inner, n_embd]`.
    pub(in crate::model) decay: (Option<Linear>, Linear),
    /// As `decay`.
    pub(in crate::model) gate: (Option<Linear>, Linear),
    /// `[n_head, n_embd]`.
    pub(in crate::model) strength: Linear,
    /// `[n_head]`: `a`, which is negative unless decays are bounded.
    pub(in crate::model) rates: Vec<f32>,
    /// `[n_inner]`: `t`.
    pub(in crate::model) time_step: Vec<f32>,
    /// `[head_dim]`.
    pub(in crate::model) norm: Norm,
    /// `[n_embd, n_inner]`.
    pub(in crate::model) output: Linear,
}

/// The buffers of such mixers, whose layers are alike.
#[derive(Debug)]
pub(in crate::model) struct KdaScratch {
    /// `[n_batch, n_inner]` each: queries, keys and values before they are convolved.
    projected: [Vec<f32>; 3],
    /// `[n_batch, head_dim]`: what decays and gates are made from, if not from the input.
    narrow: [Inputs; 2],
    /// `[n_batch, n_inner]`: decays and gates before they are activated.
    wide: [Vec<f32>; 2],
    /// `[n_batch, n_head]`.
    strengths: Vec<f32>,
    /// `[n_batch, 5 n_inner]`: what heads walk by.
    walked: Vec<f32>,
    /// `[n_batch, n_inner]`.
    outputs: Inputs,
    /// `[n_threads, n_inner]`: a row while it is computed.
    spares: Vec<Vec<f32>>,
}

impl KdaScratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[&Kda],
        Dimensions { n_batch, n_threads, .. }: Dimensions,
    ) -> Result<Option<Self>> {
        let Some(spec) = parts.first().map(|part| part.spec) else { return Ok(None) };
        let n = spec.n_inner();
        let formats = |of: fn(&Kda) -> &Linear| Formats::of(parts.iter().map(|part| &of(part).matrix));
        let narrow = [formats(|part| &part.decay.1), formats(|part| &part.gate.1)];
        let n_narrow = if spec.is_narrow { spec.head_dim } else { 0 };
        let mut inputs = |n, formats| Inputs::new(buffers, n_batch, n, formats);
        let narrow = [inputs(n_narrow, narrow[0])?, inputs(n_narrow, narrow[1])?];
        let outputs = inputs(n, formats(|part| &part.output))?;
        let mut rows = |n: usize| buffers.zeroed(0.0, n_batch, n);
        Ok(Some(Self {
            projected: [rows(n)?, rows(n)?, rows(n)?],
            narrow,
            wide: [rows(n)?, rows(n)?],
            strengths: rows(spec.n_head)?,
            walked: rows(N_WALKED * n)?,
            outputs,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, n, 1)).collect::<Result<_>>()?,
        }))
    }
}

impl Kda {
    /// What is multiplied with its input.
    fn first(&self) -> impl Iterator<Item = &Linear> {
        self.inputs.iter().chain([first(&self.decay), first(&self.gate), &self.strength])
    }

    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        Formats::of(self.first().map(|linear| &linear.matrix))
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        let behind = [&self.decay, &self.gate].into_iter().filter(|(narrow, _)| narrow.is_some());
        let rest = behind.map(|(_, wide)| wide).chain([&self.output]);
        self.first().chain(rest).map(|linear| &linear.matrix).collect()
    }

    /// Adds its output for `rows` to `stream` as `residual` says, and updates what it remembers; `input` holds the
    /// normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut KdaScratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let n = rows.batch.n();
        self.project(compute, input, n, scratch);
        compute.enter(Phase::Attention);
        self.make_rows(compute, rows, scratch);
        self.heads().walk(compute, rows, &scratch.walked, &mut scratch.outputs);
        compute.enter(Phase::Rest);
        self.gate(compute, n, scratch);
        let outputs = scratch.outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// The products of the input, and of what is narrow.
    fn project(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut KdaScratch) {
        let KdaScratch { projected, narrow, wide, strengths, .. } = scratch;
        let n_out = n * self.spec.n_inner();
        let of = |linear: &'_ Linear| input.for_consumer(&linear.matrix, 0..n);
        let [q, k, v] = projected;
        let [decay, gate] = narrow;
        let [wide_decay, wide_gate] = wide;
        let (wide_decay, wide_gate) = (&mut wide_decay[..n_out], &mut wide_gate[..n_out]);
        let (for_decay, for_gate) = match self.spec.is_narrow {
            true => (decay.floats_mut(0..n), gate.floats_mut(0..n)),
            false => (&mut *wide_decay, &mut *wide_gate),
        };
        compute.multiply([
            Product::of(&self.inputs[0], of(&self.inputs[0]), &mut q[..n_out]),
            Product::of(&self.inputs[1], of(&self.inputs[1]), &mut k[..n_out]),
            Product::of(&self.inputs[2], of(&self.inputs[2]), &mut v[..n_out]),
            Product::of(first(&self.decay), of(first(&self.decay)), for_decay),
            Product::of(first(&self.gate), of(first(&self.gate)), for_gate),
            Product::of(&self.strength, of(&self.strength), &mut strengths[..n * self.spec.n_head]),
        ]);
        if !self.spec.is_narrow {
            return;
        }
        let ups = [&self.decay.1, &self.gate.1];
        for (narrow, up) in [&mut *decay, &mut *gate].into_iter().zip(ups) {
            narrow.rows_mut(0..n).quantize(compute.kernels, Formats::of([&up.matrix]));
        }
        compute.multiply([
            Product::of(ups[0], decay.for_consumer(&ups[0].matrix, 0..n), wide_decay),
            Product::of(ups[1], gate.for_consumer(&ups[1].matrix, 0..n), wide_gate),
        ]);
    }

    /// Convolves queries, keys and values, and makes what heads walk by, row by row.
    fn make_rows<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        scratch: &mut KdaScratch,
    ) {
        let KdaScratch { projected, wide, strengths, walked, spares, .. } = scratch;
        let (batch, n_inner, n_head) = (rows.batch, self.spec.n_inner(), self.spec.n_head);
        let (n, conv_len) = (batch.n(), self.spec.conv().state_len());
        let (projected, decays) = (&*projected, &wide[0]);
        let piece_len = compute.piece_len(n, 64 * n_inner);
        let walked = RowsMut { values: &mut walked[..n * N_WALKED * n_inner], width: N_WALKED * n_inner };
        let of_span =
            |part: usize, first: usize, n: usize| &projected[part][first * n_inner..(first + n) * n_inner];
        let parts = rows.spans().zip(pieces_of(walked, span_lens(batch))).flat_map(|(span, walked)| {
            let states = &*span.state.values;
            let channels: [Channels<'_>; 3] = core::array::from_fn(|part| Channels {
                rows: of_span(part, span.first, span.n),
                n_row: n_inner,
                first: 0,
                state: &states[part * conv_len..(part + 1) * conv_len],
            });
            pieces(walked, piece_len)
                .enumerate()
                .map(move |(i, out)| (channels, span.first, i * piece_len, out))
        });
        type Part<'a> = ([Channels<'a>; 3], usize, usize, RowsMut<'a, f32>);
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (channels, first, start, walked): Part<'_>| {
            for (i, row) in (start..).zip(walked.values.chunks_exact_mut(walked.width)) {
                // Queries, keys and values, where they will be; keys where what is looked for will be.
                for (part, at) in [0, 3, 4].into_iter().enumerate() {
                    self.convs[part].row(ops, &channels[part], i, spare);
                    ops.activate(Gate::Silu, spare, &mut row[at * n_inner..(at + 1) * n_inner]);
                }
                let number = first + i;
                let decays = &decays[number * n_inner..(number + 1) * n_inner];
                let strengths = &strengths[number * n_head..(number + 1) * n_head];
                self.make_row(ops, (decays, strengths), row);
            }
        };
        compute.for_each_with(64 * n * n_inner, spares, parts, body);
        for span in rows.spans() {
            for ((part, conv), state) in self.convs.iter().enumerate().zip(pieces(span.state, conv_len)) {
                conv.remember(of_span(part, span.first, span.n), (n_inner, 0), state);
            }
        }
    }

    /// Makes of a row with convolved queries, keys and values what heads walk by.
    fn make_row(&self, ops: &Ops, (raw_decays, raw_strengths): (&[f32], &[f32]), row: &mut [f32]) {
        let KdaSpec { head_dim, n_head, bound, .. } = self.spec;
        let mut vectors = row.chunks_exact_mut(n_head * head_dim);
        let [queries, decays, keys, looks, _] =
            core::array::from_fn(|_| vectors.next().expect("a row of five vectors"));
        let root = 1.0 / (head_dim as f32).sqrt();
        for (head, strength) in raw_strengths.iter().enumerate() {
            let at = head * head_dim..(head + 1) * head_dim;
            let scale = root / length(ops, &queries[at.clone()]);
            queries[at.clone()].iter_mut().for_each(|x| *x *= scale);
            let scale = 1.0 / length(ops, &looks[at.clone()]);
            let strength = 1.0 / (1.0 + libm::expf(-strength));
            for i in at {
                let key = looks[i] * scale;
                let (rate, step) = (self.rates[head], raw_decays[i] + self.time_step[i]);
                decays[i] = libm::expf(match bound {
                    None => rate * softplus(step),
                    Some(bound) => bound / (1.0 + libm::expf(-rate * step)),
                });
                keys[i] = strength * key;
                looks[i] = -decays[i] * key;
            }
        }
    }

    /// Its heads: keys are what is corrected by as well.
    fn heads(&self) -> RowHeads {
        RowHeads {
            n_inner: self.spec.n_inner(),
            head_dim: self.spec.head_dim,
            n_before: 3 * self.spec.conv().state_len(),
            n_vector: N_WALKED,
            query: 0,
            decay: 1,
            key: 2,
            look: 3,
            correction: 2,
            value: 4,
            reads_before: false,
        }
    }

    /// Norms the outputs of the heads, multiplies them with their gates, and brings them into the format of the output
    /// matrix.
    fn gate(&self, compute: Compute<'_>, n: usize, scratch: &mut KdaScratch) {
        let KdaScratch { wide, outputs, spares, .. } = scratch;
        let (n_inner, head_dim) = (self.spec.n_inner(), self.spec.head_dim);
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_inner);
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(wide[1].chunks(piece_len * n_inner));
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (mut outputs, gates): (InputRows<'_>, &[f32])| {
            let spare = &mut spare[..head_dim];
            let heads = outputs.floats().chunks_exact_mut(head_dim).zip(gates.chunks_exact(head_dim));
            for (output, gate) in heads {
                self.norm.row(ops, output, 0, spare);
                ops.gated(Gate::Sigmoid, gate, spare, output);
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_inner, spares, parts, body);
    }
}

/// What is multiplied with the input, of a matrix that may have one in front of it.
fn first((narrow, wide): &(Option<Linear>, Linear)) -> &Linear {
    narrow.as_ref().unwrap_or(wide)
}

/// The length of a head.
fn length(ops: &Ops, head: &[f32]) -> f32 {
    let mut squares = [0.0];
    ops.dots_f32(head, head, &mut squares);
    (squares[0] + LENGTH_EPS).sqrt()
}
