//! Linear recurrences over a matrix: what delta-nets and state-space models remember.
//!
//! Each head has a matrix `S: [n_key, n_value]`. At every position, with the key `k`, the query `q`, the value `v`, a
//! decay `g` and a strength `b`:
//!
//! ```text
//! d = b (v - g S^T k)      the delta rule (Yang et al. 2024, "Gated Delta Networks", equation 10)
//! d = b v                  the plain recurrence (Dao and Gu 2024, "Mamba-2")
//! S = g S + k d^T
//! o = S^T q
//! ```
//!
//! Columns of `S` do not depend on each other, so they are taken sixteen at a time, `[n_key, 16]`, which stay in the
//! first cache while all positions of a batch go by: the order of operations is that of single positions, whatever
//! the batch. In one pass over the rows of such a block, `S` is updated for a position, its output is summed, and the
//! product with the next key: a row takes a load, four vector operations and a store.
//!
//! Orders: `S[i] = fma(k[i], d, g S[i])`; the sums over rows have two parts, of even and of odd rows, each in order
//! by fused multiply-adds, and then their sum.

use super::lanes::{self, LANES, Lanes};
use crate::columns::ColumnsMut;

/// Columns that a matrix takes when they are filled up to whole blocks.
pub const fn padded_columns(n_value: usize) -> usize {
    n_value.next_multiple_of(LANES)
}

/// The inputs of one head at consecutive positions.
#[derive(Clone, Copy, Debug)]
pub struct HeadInputs<'a> {
    /// `[n, n_row]`: what belongs to the positions.
    pub rows: &'a [f32],
    /// Elements from one position to the next.
    pub n_row: usize,
    /// Elements of a key.
    pub n_key: usize,
    /// Where the key begins in a row.
    pub key: usize,
    /// Where the query does.
    pub query: usize,
    /// Where the value does.
    pub value: usize,
    /// `[n, n_gate]`: decays and strengths of the positions.
    pub gates: &'a [f32],
    /// Elements from one position to the next.
    pub n_gate: usize,
    /// Where the decay is.
    pub decay: usize,
    /// Where the strength is.
    pub strength: usize,
}

impl HeadInputs<'_> {
    /// Whether all positions have what they need, with values of `n_value` elements.
    pub(super) fn fits(&self, n: usize, n_value: usize) -> bool {
        let within =
            |at: usize, len: usize, n_row: usize| at.checked_add(len).is_some_and(|end| end <= n_row);
        within(self.key, self.n_key, self.n_row)
            && within(self.query, self.n_key, self.n_row)
            && within(self.value, n_value, self.n_row)
            && within(self.decay, 1, self.n_gate)
            && within(self.strength, 1, self.n_gate)
            && self.n_row.checked_mul(n).is_some_and(|len| len <= self.rows.len())
            && self.n_gate.checked_mul(n).is_some_and(|len| len <= self.gates.len())
    }

    #[inline(always)]
    fn keys(&self, t: usize) -> &[f32] {
        &self.rows[t * self.n_row + self.key..][..self.n_key]
    }
}

/// Walks the positions of `out: [n, n_value]` and leaves their outputs there; `state` is the matrix, block by block.
#[inline(always)]
pub(super) fn walk<const DELTA: bool>(state: &mut [f32], inputs: &HeadInputs<'_>, out: &mut ColumnsMut<'_>) {
    let n_value = out.n_rows();
    for (b, block) in state.chunks_exact_mut(inputs.n_key * LANES).enumerate() {
        let columns = b * LANES..n_value.min((b + 1) * LANES);
        walk_block::<DELTA>(block.as_chunks_mut().0, inputs, columns, out);
    }
}

#[inline(always)]
fn walk_block<const DELTA: bool>(
    block: &mut [Lanes],
    inputs: &HeadInputs<'_>,
    columns: core::ops::Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    let n = out.n_cols();
    let mut seen = [0.0; LANES];
    if DELTA && n > 0 {
        seen = dot(block, inputs.keys(0));
    }
    for t in 0..n {
        let gates = &inputs.gates[t * inputs.n_gate..(t + 1) * inputs.n_gate];
        let (decay, strength) = (gates[inputs.decay], gates[inputs.strength]);
        let value = &inputs.rows[t * inputs.n_row + inputs.value..][columns.clone()];
        let mut delta = lanes::group(value);
        for l in 0..LANES {
            if DELTA {
                delta[l] -= decay * seen[l];
            }
            delta[l] *= strength;
        }
        let query = &inputs.rows[t * inputs.n_row + inputs.query..][..inputs.n_key];
        let output = if DELTA && t + 1 < n {
            let output;
            (output, seen) =
                update_and_look(block, (inputs.keys(t), query, inputs.keys(t + 1)), decay, &delta);
            output
        } else {
            update(block, (inputs.keys(t), query), decay, &delta)
        };
        lanes::put(&mut out.column(t)[columns.clone()], &output);
    }
}

#[inline(always)]
pub(super) fn scaled(x: f32, y: &Lanes, z: &Lanes) -> Lanes {
    let mut out = [0.0; LANES];
    for l in 0..LANES {
        out[l] = x.mul_add(y[l], z[l]);
    }
    out
}

#[inline(always)]
pub(super) fn decayed(row: &Lanes, decay: f32) -> Lanes {
    let mut out = *row;
    for l in 0..LANES {
        out[l] *= decay;
    }
    out
}

/// `S^T k`.
#[inline(always)]
pub(super) fn dot(block: &[Lanes], key: &[f32]) -> Lanes {
    let mut sums = [[0.0; LANES]; 2];
    let key = &key[..block.len()];
    let mut i = 0;
    while i + 1 < block.len() {
        sums[0] = scaled(key[i], &block[i], &sums[0]);
        sums[1] = scaled(key[i + 1], &block[i + 1], &sums[1]);
        i += 2;
    }
    if i < block.len() {
        sums[0] = scaled(key[i], &block[i], &sums[0]);
    }
    lanes::plus(&sums[0], &sums[1])
}

/// Updates the state for a position; returns its output.
#[inline(always)]
fn update(block: &mut [Lanes], (key, query): (&[f32], &[f32]), decay: f32, delta: &Lanes) -> Lanes {
    let mut sums = [[0.0; LANES]; 2];
    let (key, query) = (&key[..block.len()], &query[..block.len()]);
    let mut i = 0;
    while i + 1 < block.len() {
        let even = scaled(key[i], delta, &decayed(&block[i], decay));
        let odd = scaled(key[i + 1], delta, &decayed(&block[i + 1], decay));
        (block[i], block[i + 1]) = (even, odd);
        sums[0] = scaled(query[i], &even, &sums[0]);
        sums[1] = scaled(query[i + 1], &odd, &sums[1]);
        i += 2;
    }
    if i < block.len() {
        let even = scaled(key[i], delta, &decayed(&block[i], decay));
        block[i] = even;
        sums[0] = scaled(query[i], &even, &sums[0]);
    }
    lanes::plus(&sums[0], &sums[1])
}

/// As [`update`], with the product of the new state and the next key.
#[inline(always)]
fn update_and_look(
    block: &mut [Lanes],
    (key, query, next): (&[f32], &[f32], &[f32]),
    decay: f32,
    delta: &Lanes,
) -> (Lanes, Lanes) {
    let (mut sums, mut seen) = ([[0.0; LANES]; 2], [[0.0; LANES]; 2]);
    let (key, query, next) = (&key[..block.len()], &query[..block.len()], &next[..block.len()]);
    let mut i = 0;
    while i + 1 < block.len() {
        let even = scaled(key[i], delta, &decayed(&block[i], decay));
        let odd = scaled(key[i + 1], delta, &decayed(&block[i + 1], decay));
        (block[i], block[i + 1]) = (even, odd);
        sums[0] = scaled(query[i], &even, &sums[0]);
        sums[1] = scaled(query[i + 1], &odd, &sums[1]);
        seen[0] = scaled(next[i], &even, &seen[0]);
        seen[1] = scaled(next[i + 1], &odd, &seen[1]);
        i += 2;
    }
    if i < block.len() {
        let even = scaled(key[i], delta, &decayed(&block[i], decay));
        block[i] = even;
        sums[0] = scaled(query[i], &even, &sums[0]);
        seen[0] = scaled(next[i], &even, &seen[0]);
    }
    (lanes::plus(&sums[0], &sums[1]), lanes::plus(&seen[0], &seen[1]))
}
