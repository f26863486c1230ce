//! What a layer adds of a second embedding of the ids (Gemma 3n and 4): `norm(proj(act(gate(stream)) * e))`,
//! where `e` is the token's part for this layer, made by [`PerLayerEmbedding`].

use gguf_simd::ops::Gate;

use super::norm::{Norm, norm_into};
use super::stream::{Residual, Stream};
use crate::error::Result;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::weights::{Linear, Matrix};

/// The second embedding.
#[derive(Debug)]
pub(in crate::model) struct PerLayerEmbedding {
    /// `[n_vocab, n_layer * n]`, of which rows are read from the file.
    pub(in crate::model) table: Matrix,
    /// `[n_layer * n, n_embd]`.
    pub(in crate::model) projection: Linear,
    /// `[n]`: of the projection.
    pub(in crate::model) norm: Norm,
}

/// What a layer does with its part of it.
#[derive(Debug)]
pub(in crate::model) struct PerLayerInput {
    pub(in crate::model) activation: Gate,
    /// `[n, n_embd]`.
    pub(in crate::model) gate: Linear,
    /// `[n_embd, n]`.
    pub(in crate::model) projection: Linear,
    /// `[n_embd]`: of what is added.
    pub(in crate::model) residual: Residual,
}

/// The buffers of both.
#[derive(Debug)]
pub(in crate::model) struct PerLayerScratch {
    /// `[n_batch, n_layer * n]`: the parts for all layers.
    embedded: Vec<f32>,
    width: usize,
    /// `[n_batch, n_embd]`: the stream, for the gate and for the projection.
    input: Inputs,
    /// `[n_batch, n_layer * n]` at first, `[n_batch, n]` then.
    gate: Vec<f32>,
    /// `[n_batch, n]`.
    hidden: Inputs,
}

impl PerLayerEmbedding {
    /// Buffers for batches of `n_batch` tokens of width `n_embd`.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn scratch<'a>(
        &self,
        buffers: &mut Buffers,
        parts: impl Iterator<Item = &'a PerLayerInput> + Clone,
        n_batch: usize,
        n_embd: usize,
    ) -> Result<PerLayerScratch> {
        let width = self.table.n_in();
        let gates = Formats::of(parts.clone().map(|part| &part.gate.matrix));
        let inputs = gates.union(Formats::of([&self.projection.matrix]));
        let hidden = Formats::of(parts.map(|part| &part.projection.matrix));
        Ok(PerLayerScratch {
            embedded: buffers.zeroed(0.0, n_batch, width)?,
            width,
            input: Inputs::new(buffers, n_batch, n_embd, inputs)?,
            gate: buffers.zeroed(0.0, n_batch, width)?,
            hidden: Inputs::new(buffers, n_batch, self.norm.weight.len(), hidden)?,
        })
    }

    /// Computes the parts of the first `n` rows, whose ids `id` tells, from the scaled embedding in `stream`:
    /// `(norm(projection(stream) / sqrt(n_embd)) + sqrt(n) table[id]) / sqrt(2)`.
    pub(in crate::model) fn step(
        &self,
        compute: Compute<'_>,
        (stream, n): (&Stream, usize),
        id: impl Fn(usize) -> usize + Sync,
        scratch: &mut PerLayerScratch,
    ) {
        let PerLayerScratch { embedded, width, input, gate: projected, .. } = scratch;
        let (width, n_embd, n_part) = (*width, input.n_in(), self.norm.weight.len());
        let projection = &self.projection;
        norm_into(None, compute, stream.rows(n), Formats::of([&projection.matrix]), input);
        let projected = &mut projected[..n * width];
        let x = input.for_consumer(&projection.matrix, 0..n);
        compute.multiply([Product::of(projection, x, &mut *projected)]);
        let down = 1.0 / (n_embd as f32).sqrt();
        let up = (n_part as f32).sqrt();
        let piece_len = compute.piece_len(n, 8 * width);
        let of = |values| pieces(RowsMut { values, width }, piece_len);
        let parts = of(&mut embedded[..n * width]).zip(of(projected)).enumerate();
        type Part<'a> = (usize, (RowsMut<'a, f32>, RowsMut<'a, f32>));
        compute.for_each(8 * n * width, parts, |(i, (embedded, projected)): Part<'_>| {
            let rows = embedded.values.chunks_exact_mut(width).zip(projected.values.chunks_exact_mut(width));
            for (j, (embedded, projected)) in rows.enumerate() {
                projected.iter_mut().for_each(|x| *x *= down);
                for (x, normed) in projected.chunks_exact(n_part).zip(embedded.chunks_exact_mut(n_part)) {
                    self.norm.row(compute.kernels.ops(), x, 0, normed);
                }
                let id = id(i * piece_len + j);
                let row = self.table.rows(id..id + 1);
                compute.kernels.decode(row.block_type, row.bytes, projected);
                for (sum, x) in embedded.iter_mut().zip(projected) {
                    *sum = (*sum + *x * up) * core::f32::consts::FRAC_1_SQRT_2;
                }
            }
        });
    }
}

impl PerLayerScratch {
    /// Moves the parts of row `from` to row `to`.
    pub(in crate::model) fn move_row(&mut self, from: usize, to: usize) {
        self.embedded.copy_within(from * self.width..(from + 1) * self.width, to * self.width);
    }
}

impl PerLayerInput {
    /// Its matrices.
    pub(super) fn matrices(&self) -> [&Matrix; 2] {
        [&self.gate.matrix, &self.projection.matrix]
    }

    /// Adds the part for `layer` to the first `n` rows of `stream`, or leaves it there `alone`.
    pub(in crate::model) fn step(
        &self,
        compute: Compute<'_>,
        (layer, alone): (usize, bool),
        n: usize,
        scratch: &mut PerLayerScratch,
        stream: &mut Stream,
    ) {
        let PerLayerScratch { embedded, width, input, gate, hidden } = scratch;
        norm_into(None, compute, stream.rows(n), Formats::of([&self.gate.matrix]), input);
        let n_part = self.gate.matrix.n_out();
        let gate = &mut gate[..n * n_part];
        compute.multiply([Product::of(&self.gate, input.for_consumer(&self.gate.matrix, 0..n), &mut *gate)]);
        let formats = Formats::of([&self.projection.matrix]);
        let piece_len = compute.piece_len(n, 16 * n_part);
        let parts = pieces(hidden.rows_mut(0..n), piece_len).enumerate();
        let (gate, width) = (&*gate, *width);
        compute.for_each(16 * n * n_part, parts, |(i, mut rows): (usize, InputRows<'_>)| {
            rows.for_each(formats, |row, out| {
                let row = i * piece_len + row;
                let embedded = &embedded[row * width + layer * n_part..][..n_part];
                compute.kernels.gated(self.activation, &gate[row * n_part..][..n_part], embedded, out);
            });
        });
        let x = hidden.for_consumer(&self.projection.matrix, 0..n);
        if alone {
            stream.rows_mut(n).values.fill(0.0);
        }
        stream.add(compute, n, &self.residual, |mut sum| sum.add(compute, &self.projection, x));
    }
}
