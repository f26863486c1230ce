//! Linear recurrences over a matrix whose rows decay each at its own rate: RWKV-7 (Peng et al. 2025, section 4)
//! and Kimi Linear (Moonshot AI 2025, section 3).
//!
//! Each head has a matrix `S: [n_key, n_value]`. At every position, with the decays `w`, the key `k`, the query `q`,
//! what is looked for `a` and the direction of what is corrected `b`, all `[n_key]`, and the value `v`:
//!
//! ```text
//! s = S^T a
//! S[i] = w[i] S[i] + b[i] s + k[i] v
//! o = S^T q
//! ```
//!
//! RWKV-6 (Peng et al. 2024, "Eagle and Finch", section 4) reads before the update: there `a` is the query, `b` is zero,
//! and the outputs are `s`.
//!
//! The matrix lies and is walked as in `recurrence`: sixteen columns at a time, all positions of a batch, each row read
//! once for a position, with the product of the new row and the next `a`.
//!
//! Orders: `S[i] = fma(k[i], v, fma(b[i], s, w[i] S[i]))`; sums over rows as in `recurrence`.

use super::lanes::{self, LANES, Lanes};
use super::recurrence::{decayed, dot, scaled};
use crate::columns::ColumnsMut;

/// The inputs of one head at consecutive positions; every place is where something begins in a row.
#[derive(Clone, Copy, Debug)]
pub struct RowDecayInputs<'a> {
    /// `[n, n_row]`: what belongs to the positions.
    pub rows: &'a [f32],
    /// Elements from one position to the next.
    pub n_row: usize,
    /// Elements of a key, and of all that there is one of for each row of the matrix.
    pub n_key: usize,
    /// Of the query.
    pub query: usize,
    /// Of the decays.
    pub decay: usize,
    /// Of the key.
    pub key: usize,
    /// Of what is looked for.
    pub look: usize,
    /// Of the direction of what is corrected.
    pub correction: usize,
    /// Of the value.
    pub value: usize,
    /// Whether the outputs are what was looked for instead: what the state was before the update.
    pub reads_before: bool,
}

/// What a position has for each row of the matrix.
#[derive(Clone, Copy)]
struct Position<'a> {
    query: &'a [f32],
    decay: &'a [f32],
    key: &'a [f32],
    correction: &'a [f32],
}

impl RowDecayInputs<'_> {
    /// Whether all positions have what they need, with values of `n_value` elements.
    pub(super) fn fits(&self, n: usize, n_value: usize) -> bool {
        let within = |at: usize, len: usize| at.checked_add(len).is_some_and(|end| end <= self.n_row);
        [self.query, self.decay, self.key, self.look, self.correction]
            .into_iter()
            .all(|at| within(at, self.n_key))
            && within(self.value, n_value)
            && self.n_row.checked_mul(n).is_some_and(|len| len <= self.rows.len())
    }

    #[inline(always)]
    fn of(&self, t: usize, at: usize) -> &[f32] {
        &self.rows[t * self.n_row + at..][..self.n_key]
    }
}

/// Walks the positions of `out: [n, n_value]` and leaves their outputs there; `state` is the matrix, block by block.
#[inline(always)]
pub(super) fn walk(state: &mut [f32], inputs: &RowDecayInputs<'_>, out: &mut ColumnsMut<'_>) {
    let n_value = out.n_rows();
    for (b, block) in state.chunks_exact_mut(inputs.n_key * LANES).enumerate() {
        let columns = b * LANES..n_value.min((b + 1) * LANES);
        walk_block(block.as_chunks_mut().0, inputs, columns, out);
    }
}

#[inline(always)]
fn walk_block(
    block: &mut [Lanes],
    inputs: &RowDecayInputs<'_>,
    columns: core::ops::Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    let n = out.n_cols();
    if n == 0 {
        return;
    }
    let mut seen = dot(block, inputs.of(0, inputs.look));
    for t in 0..n {
        let value = lanes::group(&inputs.rows[t * inputs.n_row + inputs.value..][columns.clone()]);
        let position = Position {
            query: inputs.of(t, inputs.query),
            decay: inputs.of(t, inputs.decay),
            key: inputs.of(t, inputs.key),
            correction: inputs.of(t, inputs.correction),
        };
        // Behind the last position nothing is looked for.
        let next = inputs.of(if t + 1 < n { t + 1 } else { t }, inputs.look);
        let (after, next_seen) = update(block, position, next, (&value, &seen));
        let output = if inputs.reads_before { seen } else { after };
        seen = next_seen;
        lanes::put(&mut out.column(t)[columns.clone()], &output);
    }
}

/// Updates the state for a position; returns its output and the product of the new state and `next`.
#[inline(always)]
fn update(
    block: &mut [Lanes],
    Position { query, decay, key, correction }: Position<'_>,
    next: &[f32],
    (value, seen): (&Lanes, &Lanes),
) -> (Lanes, Lanes) {
    let n = block.len();
    let (query, decay, key, correction, next) =
        (&query[..n], &decay[..n], &key[..n], &correction[..n], &next[..n]);
    let (mut sums, mut looks) = ([[0.0; LANES]; 2], [[0.0; LANES]; 2]);
    for i in 0..n {
        let kept = decayed(&block[i], decay[i]);
        let row = scaled(key[i], value, &scaled(correction[i], seen, &kept));
        block[i] = row;
        let part = i % 2;
        sums[part] = scaled(query[i], &row, &sums[part]);
        looks[part] = scaled(next[i], &row, &looks[part]);
    }
    (lanes::plus(&sums[0], &sums[1]), lanes::plus(&looks[0], &looks[1]))
}
