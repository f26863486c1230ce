//! A convolution over the rows of a sequence, and the few before them that it remembers or some behind.

use gguf_simd::ops::{Gate, MAX_TAPS, Ops};

use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::rows::{Rows, span_lens};
use crate::model::spec::layer::ConvSpec;
use crate::model::state::trail::LayerState;

/// A convolution of each channel with its last few values.
#[derive(Debug)]
pub(in crate::model) struct Conv {
    spec: ConvSpec,
    /// `[n_taps, n_channels]`, the oldest first.
    weights: Vec<f32>,
    /// `[n_channels]`.
    bias: Option<Vec<f32>>,
    /// What stands for positions before and behind a text, `[n_channels]`, if those around a position count.
    zeros: Vec<f32>,
}

/// The values of the channels at consecutive positions of one sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels<'a> {
    /// `[n, n_row]`.
    pub(super) rows: &'a [f32],
    /// Elements from one position to the next.
    pub(super) n_row: usize,
    /// Where the channels begin in a row.
    pub(super) first: usize,
    /// `[n_taps - 1, n_channels]`: the positions before.
    pub(super) state: &'a [f32],
}

impl Conv {
    /// Of `weights: [n_channels, n_taps]`, as files have them.
    pub(in crate::model) fn new(spec: ConvSpec, weights: &[f32], bias: Option<Vec<f32>>) -> Self {
        let ConvSpec { n_channels, n_taps, .. } = spec;
        let weight = |i: usize| weights[i % n_channels * n_taps + i / n_channels];
        let zeros = vec![0.0; if spec.is_centred { n_channels } else { 0 }];
        Self { spec, weights: (0..n_taps * n_channels).map(weight).collect(), bias, zeros }
    }

    /// Convolves the channels that each of `projected: [n, n_row]` begins with, sends them through SiLU into
    /// `values: [n, n_channels]` in `formats`, and remembers the last of them at the start of the states of `rows`.
    /// There is a spare row for each thread.
    pub(super) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        (projected, n_row): (&[f32], usize),
        (values, formats): (&mut Inputs, Formats),
        spares: &mut [Vec<f32>],
    ) {
        let (batch, n_channels, n_state) = (rows.batch, self.spec.n_channels, self.spec.state_len());
        let n = batch.n();
        let of_span = |first: usize, n: usize| &projected[first * n_row..(first + n) * n_row];
        let piece_len = compute.piece_len(n, 16 * n_channels);
        let spans = rows.spans().zip(pieces_of(values.rows_mut(0..n), span_lens(batch)));
        let parts = spans.flat_map(|(span, values)| {
            let rows = of_span(span.first, span.n);
            let channels = Channels { rows, n_row, first: 0, state: &span.state.values[..n_state] };
            pieces(values, piece_len).enumerate().map(move |(i, values)| (channels, i * piece_len, values))
        });
        type Part<'a> = (Channels<'a>, usize, InputRows<'a>);
        let ops = compute.kernels.ops();
        let body = |spare: &mut Vec<f32>, (channels, start, mut values): Part<'_>| {
            let raw = &mut spare[..n_channels];
            for (i, value) in (start..).zip(values.floats().chunks_exact_mut(n_channels)) {
                self.row(ops, &channels, i, raw);
                ops.activate(Gate::Silu, raw, value);
            }
            values.quantize(compute.kernels, formats);
        };
        compute.for_each_with(16 * n * n_channels, spares, parts, body);
        for span in rows.spans() {
            self.remember(of_span(span.first, span.n), (n_row, 0), span.state.split_at(n_state).0);
        }
    }

    /// What position `i` of `channels` becomes, `out: [n_channels]`.
    pub(super) fn row(&self, ops: &Ops, channels: &Channels<'_>, i: usize, out: &mut [f32]) {
        let ConvSpec { n_channels, n_taps, is_centred, .. } = self.spec;
        let n_before = if is_centred { n_taps / 2 } else { n_taps - 1 };
        let mut taps: [&[f32]; MAX_TAPS] = [&[]; MAX_TAPS];
        for (j, tap) in taps[..n_taps].iter_mut().enumerate() {
            *tap = match (i + j).checked_sub(n_before) {
                Some(at) if at * channels.n_row < channels.rows.len() => {
                    &channels.rows[at * channels.n_row + channels.first..][..n_channels]
                }
                None if !is_centred => &channels.state[(i + j) * n_channels..][..n_channels],
                _ => &self.zeros,
            };
        }
        ops.conv(&taps[..n_taps], &self.weights, self.bias.as_deref(), out);
    }

    /// Remembers the last of the positions of `rows: [n, n_row]`, whose channels begin at `first`, in
    /// `state: [n_taps - 1, n_channels]`.
    pub(super) fn remember(&self, rows: &[f32], (n_row, first): (usize, usize), state: LayerState<'_>) {
        let ConvSpec { n_channels, n_taps, is_centred, .. } = self.spec;
        if is_centred {
            return;
        }
        state.walk(rows.len() / n_row, |positions, state| {
            let n_kept = (n_taps - 1).saturating_sub(positions.len());
            state.copy_within((n_taps - 1 - n_kept) * n_channels.., 0);
            let new = state[n_kept * n_channels..].chunks_exact_mut(n_channels);
            for (at, to) in (positions.end - (n_taps - 1 - n_kept)..).zip(new) {
                to.copy_from_slice(&rows[at * n_row + first..][..n_channels]);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels, each the sum of three taps with the weights 100, 10 and 1.
    fn conv() -> Conv {
        let spec = ConvSpec { n_channels: 2, n_taps: 3, has_bias: false, is_centred: false };
        Conv::new(spec, &[100.0, 10.0, 1.0, 100.0, 10.0, 1.0], None)
    }

    #[test]
    fn a_convolution_that_looks_both_ways_finds_nothing_around_a_text() {
        let spec = ConvSpec { n_channels: 1, n_taps: 3, has_bias: false, is_centred: true };
        let conv = Conv::new(spec, &[100.0, 10.0, 1.0], None);
        for (rows, expected) in [(&[1.0, 2.0, 3.0][..], &[12.0, 123.0, 230.0][..]), (&[1.0], &[10.0])] {
            let channels = Channels { rows, n_row: 1, first: 0, state: &[] };
            let outputs = (0..rows.len()).map(|i| {
                let mut out = [0.0];
                conv.row(Ops::SCALAR, &channels, i, &mut out);
                out[0]
            });
            assert_eq!(outputs.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn every_cut_of_a_text_gives_the_same_outputs() {
        let conv = conv();
        // Rows of three, of which the last two are the channels.
        let rows: Vec<f32> = (1..=5).flat_map(|i| [9.0, i as f32, 10.0 * i as f32]).collect();
        let expected: Vec<f32> =
            [1.0, 12.0, 123.0, 234.0, 345.0].into_iter().flat_map(|x| [x, 10.0 * x]).collect();
        for cut in 0..=5 {
            let mut state = vec![0.0; 4];
            let mut found = Vec::new();
            for rows in [&rows[..3 * cut], &rows[3 * cut..]] {
                let channels = Channels { rows, n_row: 3, first: 1, state: &state };
                for i in 0..rows.len() / 3 {
                    let mut out = [0.0; 2];
                    conv.row(Ops::SCALAR, &channels, i, &mut out);
                    found.extend(out);
                }
                conv.remember(rows, (3, 1), LayerState::of(&mut state));
            }
            assert_eq!(found, expected, "cut after {cut}");
            assert_eq!(state, [4.0, 40.0, 5.0, 50.0]);
        }
    }
}
