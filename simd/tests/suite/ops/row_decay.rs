//! The rule whose decays differ from row to row: its formula, every tier, and every cut of a text.

use super::*;

/// A text for one head: for each position a query, decays, a key, what is looked for, a direction, and a value.
struct Text {
    n: usize,
    n_key: usize,
    n_value: usize,
    rows: Vec<f32>,
    reads_before: bool,
}

impl Text {
    fn new((n, reads_before): (usize, bool), n_key: usize, n_value: usize) -> Self {
        let n_row = 5 * n_key + n_value;
        let mut rows: Vec<f32> =
            noise(n * n_row, 41).iter().map(|x| 0.5 * x / (n_key as f32).sqrt()).collect();
        // Decays are between 0 and 1.
        for row in rows.chunks_exact_mut(n_row) {
            row[n_key..2 * n_key].iter_mut().for_each(|x| *x = x.abs().fract());
        }
        Self { n, n_key, n_value, rows, reads_before }
    }

    fn n_row(&self) -> usize {
        5 * self.n_key + self.n_value
    }

    fn matrix(&self) -> Vec<f32> {
        noise(self.n_key * padded_columns(self.n_value), 42)
    }

    /// The outputs of positions `from..to`, `[n_value]` each, from `state` on.
    fn walk(&self, ops: &Ops, (from, to): (usize, usize), state: &mut [f32]) -> Vec<f32> {
        let mut out = vec![0.0; (to - from) * self.n_value];
        let inputs = RowDecayInputs {
            rows: &self.rows[from * self.n_row()..to * self.n_row()],
            n_row: self.n_row(),
            n_key: self.n_key,
            query: 0,
            decay: self.n_key,
            key: 2 * self.n_key,
            look: 3 * self.n_key,
            correction: 4 * self.n_key,
            value: 5 * self.n_key,
            reads_before: self.reads_before,
        };
        ops.row_decay_rule(state, inputs, ColumnsMut::new(&mut out, self.n_value, to - from));
        out
    }

    /// The same by the formula, in `f64`.
    fn exact(&self, state: &[f32]) -> Vec<f64> {
        let (n_key, n_value) = (self.n_key, self.n_value);
        let at = |i: usize, j: usize| j / 16 * n_key * 16 + i * 16 + j % 16;
        let mut s: Vec<Vec<f64>> =
            (0..n_key).map(|i| (0..n_value).map(|j| f64::from(state[at(i, j)])).collect()).collect();
        let mut out = Vec::new();
        for row in self.rows.chunks_exact(self.n_row()).take(self.n) {
            let part = |p: usize, i: usize| f64::from(row[p * n_key + i]);
            for j in 0..n_value {
                let value = f64::from(row[5 * n_key + j]);
                let seen: f64 = (0..n_key).map(|i| s[i][j] * part(3, i)).sum();
                for i in 0..n_key {
                    s[i][j] = part(1, i) * s[i][j] + part(4, i) * seen + part(2, i) * value;
                }
                let after = (0..n_key).map(|i| s[i][j] * part(0, i)).sum();
                out.push(if self.reads_before { seen } else { after });
            }
        }
        out
    }
}

fn texts() -> impl Iterator<Item = Text> {
    [1, 2, 7, 16].into_iter().flat_map(|n_key| {
        [1, 16, 20].into_iter().flat_map(move |n_value| {
            [(0, false), (1, false), (5, false), (1, true), (5, true)]
                .map(|kind| Text::new(kind, n_key, n_value))
        })
    })
}

#[test]
fn the_rule_follows_its_formula() {
    for text in texts() {
        let mut state = text.matrix();
        let exact = text.exact(&state);
        let found = text.walk(scalar(), (0, text.n), &mut state);
        assert_eq!(found.len(), exact.len());
        let scale = exact.iter().fold(1.0, |scale: f64, x| scale.max(x.abs()));
        for (found, exact) in found.iter().zip(exact) {
            assert!((f64::from(*found) - exact).abs() < 1e-5 * scale, "{found} for {exact}");
        }
    }
}

#[test]
fn the_rule_has_the_same_bits_on_every_tier_however_a_text_is_cut() {
    for text in texts() {
        let mut state = text.matrix();
        let expected = text.walk(scalar(), (0, text.n), &mut state);
        for isa in Isa::available() {
            let ops = Ops::for_isa(isa).expect("an available tier has its operations");
            for len in [1, 2, 5] {
                let (mut own, mut found) = (text.matrix(), Vec::new());
                for from in (0..text.n).step_by(len) {
                    found.extend(text.walk(ops, (from, text.n.min(from + len)), &mut own));
                }
                let what = format!("{} keys on {}, {len} at a time", text.n_key, isa.name());
                assert_eq!(bits(&found), bits(&expected), "{what}");
                assert_eq!(bits(&own), bits(&state), "{what}");
            }
        }
    }
}
