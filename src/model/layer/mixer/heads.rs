//! What mixers with a matrix for each head have in common: their inputs are convolved, row by row; then every head
//! walks the positions of each sequence, on one thread.

use gguf_simd::ColumnsMut;
use gguf_simd::ops::{HeadInputs, Ops, padded_columns};

use super::conv::{Channels, Conv};
use super::scratch::RecurrentScratch;
use crate::model::batch::BatchPart;
use crate::model::compute::{ByToken, Compute, RowsMut, pieces, pieces_of};
use crate::model::layer::rows::{Rows, span_lens};
use crate::model::state::trail::LayerState;

/// The heads of a mixer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) n_head: usize,
    /// Elements of a key and of a query: rows of a head's matrix.
    pub(super) n_key: usize,
    /// Elements of a value: its columns.
    pub(super) n_value: usize,
    /// Elements of a row of products, and where those that are convolved begin.
    pub(super) n_row: usize,
    pub(super) first: usize,
    /// Convolved elements of a row.
    pub(super) n_channels: usize,
    /// Floats of the state before the matrices.
    pub(super) n_conv_state: usize,
    /// Whether they follow the delta rule.
    pub(super) is_delta: bool,
}

/// Where the inputs of a head begin in a convolved row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) key: usize,
    pub(super) query: usize,
    pub(super) value: usize,
}

/// A row of products, and what becomes of it.
pub(super) struct HeadsRow<'a> {
    pub(super) ops: &'a Ops,
    /// The number of the row.
    pub(super) number: usize,
    /// `[n_row]`.
    pub(super) products: &'a [f32],
    /// `[n_channels]`: convolved, as activations take them; room for anything afterwards.
    pub(super) raw: &'a mut [f32],
    /// `[n_channels]`: what the heads get.
    pub(super) convolved: &'a mut [f32],
    /// `[2 n_head]`: decays, then strengths.
    pub(super) gates: &'a mut [f32],
}

impl Heads {
    /// Convolves the rows; `finish` makes of each what the heads get.
    pub(super) fn convolve<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        conv: &Conv,
        rows: &mut Rows<'_, P>,
        scratch: &mut RecurrentScratch,
        finish: impl Fn(&[f32], HeadsRow<'_>) + Sync,
    ) {
        let Self { n_row, first, n_channels, n_conv_state, .. } = *self;
        let batch = rows.batch;
        let (n, n_gates) = (batch.n(), 2 * self.n_head);
        let RecurrentScratch { projected, convolved, scalars, gates, spares, .. } = scratch;
        let (projected, scalars) = (&projected[..n * n_row], &*scalars);
        let piece_len = compute.piece_len(n, 16 * n_channels);
        let convolved = RowsMut { values: &mut convolved[..n * n_channels], width: n_channels };
        let gates = RowsMut { values: &mut gates[..n * n_gates], width: n_gates };
        let outs = pieces_of(convolved, span_lens(batch)).zip(pieces_of(gates, span_lens(batch)));
        let parts = rows.spans().zip(outs).flat_map(|(span, (convolved, gates))| {
            let rows = &projected[span.first * n_row..(span.first + span.n) * n_row];
            let channels = Channels { rows, n_row, first, state: &span.state.values[..n_conv_state] };
            let outs = pieces(convolved, piece_len).zip(pieces(gates, piece_len)).enumerate();
            outs.map(move |(i, outs)| (channels, span.first, i * piece_len, outs))
        });
        type Outs<'a> = (RowsMut<'a, f32>, RowsMut<'a, f32>);
        type Part<'a> = (Channels<'a>, usize, usize, Outs<'a>);
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (channels, first_row, start, outs): Part<'_>| {
            let outs =
                outs.0.values.chunks_exact_mut(n_channels).zip(outs.1.values.chunks_exact_mut(n_gates));
            for (i, (convolved, gates)) in (start..).zip(outs) {
                let raw = &mut spare[..n_channels];
                conv.row(ops, &channels, i, raw);
                let number = first_row + i;
                let products = &projected[number * n_row..][..n_row];
                finish(scalars, HeadsRow { ops, number, products, raw, convolved, gates });
            }
        };
        compute.for_each_with(16 * n * n_channels, spares, parts, body);
        for span in rows.spans() {
            let rows = &projected[span.first * n_row..(span.first + span.n) * n_row];
            conv.remember(rows, (n_row, first), span.state.split_at(n_conv_state).0);
        }
    }

    /// Lets every head walk the positions of each sequence, from what it remembers on.
    pub(super) fn walk<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        scratch: &mut RecurrentScratch,
        places: impl Fn(usize) -> Places + Sync,
    ) {
        let Self { n_head, n_key, n_value, n_channels, n_conv_state, .. } = *self;
        let (batch, n_gate) = (rows.batch, 2 * n_head);
        let n = batch.n();
        let RecurrentScratch { convolved, gates, outputs, .. } = scratch;
        let (convolved, gates) = (&convolved[..n * n_channels], &gates[..n * n_gate]);
        outputs.set_n_in(n_head * n_value);
        let outputs = ByToken(ColumnsMut::new(outputs.floats_mut(0..n), n_head * n_value, n));
        let matrix_len = n_key * padded_columns(n_value);
        let parts = rows.spans().zip(pieces_of(outputs, span_lens(batch))).flat_map(|(span, outputs)| {
            let matrices = pieces(span.state.split_at(n_conv_state).1, matrix_len);
            let heads = matrices.zip(pieces(outputs.0, n_value)).enumerate();
            heads.map(move |(head, (matrix, outputs))| (span.first, head, matrix, outputs))
        });
        type Part<'a> = (usize, usize, LayerState<'a>, ColumnsMut<'a>);
        compute.for_each(
            4 * n * n_head * matrix_len,
            parts,
            |(first, head, matrix, mut outputs): Part<'_>| {
                let Places { key, query, value } = places(head);
                let ops = compute.kernels.ops();
                matrix.walk(outputs.n_cols(), |rows, matrix| {
                    let inputs = HeadInputs {
                        rows: &convolved[(first + rows.start) * n_channels..(first + rows.end) * n_channels],
                        n_row: n_channels,
                        n_key,
                        key,
                        query,
                        value,
                        gates: &gates[(first + rows.start) * n_gate..(first + rows.end) * n_gate],
                        n_gate,
                        decay: head,
                        strength: n_head + head,
                    };
                    let outputs = outputs.columns(rows);
                    if self.is_delta {
                        ops.delta_rule(matrix, inputs, outputs);
                    } else {
                        ops.plain_recurrence(matrix, inputs, outputs);
                    }
                });
            },
        );
    }
}

/// `ln(1 + e^x)`; of large numbers the number itself, as everywhere in the field.
pub(super) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}
