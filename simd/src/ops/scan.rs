//! The selective scan of Mamba (Gu and Dao 2023, "Mamba", algorithm 2): every channel has a state of a few numbers that
//! decay each at its own pace. At every position, with the channel's time step `t` and value `x`, and `B` and `C` of
//! all channels:
//!
//! ```text
//! h[s] = e^(t a[s]) h[s] + B[s] (t x)
//! y = sum of h[s] C[s]
//! ```
//!
//! Channels do not depend on each other, so they are taken sixteen at a time, whose states stay in the first cache
//! while all positions of a batch go by: the order of operations is that of single positions, whatever the batch.
//! `h[s]` and the sum are one fused multiply-add each, the sum in the order of `s`.

use super::exp::exp;
use super::lanes::{self, LANES, Lanes};
use crate::columns::ColumnsMut;

/// What a scan takes at consecutive positions.
#[derive(Clone, Copy, Debug)]
pub struct ScanInputs<'a> {
    /// Numbers of a channel's state.
    pub n_state: usize,
    /// `[n, n_value]`: the values of all channels.
    pub values: &'a [f32],
    /// Channels, of which the scan may be of some.
    pub n_value: usize,
    /// `[n, n_value]`: their time steps.
    pub steps: &'a [f32],
    /// The first channel of the scan.
    pub first: usize,
    /// `[n, 2 n_state]`: `B`, then `C`.
    pub shared: &'a [f32],
}

impl ScanInputs<'_> {
    /// Whether `n` positions of `n_channels` channels have what they need.
    pub(super) fn fits(&self, n: usize, n_channels: usize) -> bool {
        let within = self.first.checked_add(n_channels).is_some_and(|end| end <= self.n_value);
        let is_long = |of: &[f32], n_row: usize| n_row.checked_mul(n).is_some_and(|len| len <= of.len());
        let shared = self.n_state.checked_mul(2);
        within
            && is_long(self.values, self.n_value)
            && is_long(self.steps, self.n_value)
            && shared.is_some_and(|n_row| is_long(self.shared, n_row))
    }
}

/// Walks the positions of `out: [n, n_channels]` and leaves their outputs there. `state` and `rates`, the `a`, are
/// `[padded_columns(n_channels) / 16, n_state, 16]`.
#[inline(always)]
pub(super) fn scan(state: &mut [f32], rates: &[f32], inputs: &ScanInputs<'_>, out: &mut ColumnsMut<'_>) {
    let n_channels = out.n_rows();
    let block_len = inputs.n_state * LANES;
    let blocks = state.chunks_exact_mut(block_len).zip(rates.chunks_exact(block_len));
    for (b, (state, rates)) in blocks.enumerate() {
        let channels = b * LANES..n_channels.min((b + 1) * LANES);
        scan_block(state.as_chunks_mut().0, rates.as_chunks().0, inputs, channels, out);
    }
}

#[inline(always)]
fn scan_block(
    state: &mut [Lanes],
    rates: &[Lanes],
    inputs: &ScanInputs<'_>,
    channels: core::ops::Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    let n_state = inputs.n_state;
    let rates = &rates[..state.len()];
    for i in 0..out.n_cols() {
        let row = i * inputs.n_value + inputs.first;
        let part = row + channels.start..row + channels.end;
        let steps = lanes::group(&inputs.steps[part.clone()]);
        let weighted = lanes::times(&steps, &lanes::group(&inputs.values[part]));
        let (written, read) = inputs.shared[i * 2 * n_state..(i + 1) * 2 * n_state].split_at(n_state);
        let (written, read) = (&written[..state.len()], &read[..state.len()]);
        let mut sum = [0.0; LANES];
        for s in 0..state.len() {
            let decay = exp(&lanes::times(&steps, &rates[s]));
            let mut h = state[s];
            for l in 0..LANES {
                h[l] = written[s].mul_add(weighted[l], decay[l] * h[l]);
                sum[l] = read[s].mul_add(h[l], sum[l]);
            }
            state[s] = h;
        }
        lanes::put(&mut out.column(i)[channels.clone()], &sum);
    }
}
