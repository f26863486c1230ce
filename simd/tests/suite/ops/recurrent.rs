//! Convolutions and recurrences: their formulas, every tier, and every cut of a text.

use super::*;

const STRENGTHS: usize = 3;

/// A text for one head: rows of a query, a key and a value, and gates, of which the head has the last of three.
struct Text {
    n: usize,
    n_key: usize,
    n_value: usize,
    rows: Vec<f32>,
    gates: Vec<f32>,
}

impl Text {
    fn new(n: usize, n_key: usize, n_value: usize) -> Self {
        let rows = noise(n * (2 * n_key + n_value), 21).iter().map(|x| x / (n_key as f32).sqrt()).collect();
        // Between 0 and 1.
        let gates = noise(n * 2 * STRENGTHS, 22).iter().map(|x| x.abs().fract()).collect();
        Self { n, n_key, n_value, rows, gates }
    }

    fn n_row(&self) -> usize {
        2 * self.n_key + self.n_value
    }

    fn matrix(&self) -> Vec<f32> {
        let n = self.n_key * padded_columns(self.n_value);
        noise(n, 23)
    }

    /// The outputs of positions `from..to`, `[n_value]` each, from `state` on.
    fn walk(&self, ops: &Ops, (from, to): (usize, usize), state: &mut [f32], is_delta: bool) -> Vec<f32> {
        let mut out = vec![0.0; (to - from) * self.n_value];
        let inputs = HeadInputs {
            rows: &self.rows[from * self.n_row()..to * self.n_row()],
            n_row: self.n_row(),
            n_key: self.n_key,
            query: 0,
            key: self.n_key,
            value: 2 * self.n_key,
            gates: &self.gates[from * 2 * STRENGTHS..to * 2 * STRENGTHS],
            n_gate: 2 * STRENGTHS,
            decay: STRENGTHS - 1,
            strength: 2 * STRENGTHS - 1,
        };
        let columns = ColumnsMut::new(&mut out, self.n_value, to - from);
        match is_delta {
            true => ops.delta_rule(state, inputs, columns),
            false => ops.plain_recurrence(state, inputs, columns),
        }
        out
    }

    /// The same by the formula, in `f64`.
    fn exact(&self, state: &[f32], is_delta: bool) -> Vec<f64> {
        let (n_key, n_value) = (self.n_key, self.n_value);
        let at = |i: usize, j: usize| j / 16 * n_key * 16 + i * 16 + j % 16;
        let mut s: Vec<Vec<f64>> =
            (0..n_key).map(|i| (0..n_value).map(|j| f64::from(state[at(i, j)])).collect()).collect();
        let mut out = Vec::new();
        for t in 0..self.n {
            let row = &self.rows[t * self.n_row()..][..self.n_row()];
            let (q, k, v) = (&row[..n_key], &row[n_key..2 * n_key], &row[2 * n_key..]);
            let gates = &self.gates[t * 2 * STRENGTHS..][..2 * STRENGTHS];
            let (decay, strength) = (f64::from(gates[STRENGTHS - 1]), f64::from(gates[2 * STRENGTHS - 1]));
            for j in 0..n_value {
                let seen: f64 = (0..n_key).map(|i| decay * s[i][j] * f64::from(k[i])).sum();
                let delta = strength * (f64::from(v[j]) - if is_delta { seen } else { 0.0 });
                for i in 0..n_key {
                    s[i][j] = decay * s[i][j] + f64::from(k[i]) * delta;
                }
                out.push((0..n_key).map(|i| s[i][j] * f64::from(q[i])).sum());
            }
        }
        out
    }
}

fn texts() -> impl Iterator<Item = Text> {
    let values = [1, 8, 16, 20, 48];
    [1, 2, 7, 16, 33].into_iter().flat_map(move |n_key| {
        values.into_iter().flat_map(move |n_value| [0, 1, 2, 5].map(|n| Text::new(n, n_key, n_value)))
    })
}

#[test]
fn recurrences_follow_their_formulas() {
    for (text, is_delta) in texts().map(|text| (text, true)).chain(texts().map(|text| (text, false))) {
        let mut state = text.matrix();
        let exact = text.exact(&state, is_delta);
        let found = text.walk(scalar(), (0, text.n), &mut state, is_delta);
        assert_eq!(found.len(), exact.len());
        let scale = exact.iter().fold(1.0, |scale: f64, x| scale.max(x.abs()));
        for (found, exact) in found.iter().zip(exact) {
            assert!((f64::from(*found) - exact).abs() < 1e-5 * scale, "{found} for {exact}");
        }
    }
}

#[test]
fn recurrences_have_the_same_bits_on_every_tier_however_a_text_is_cut() {
    for text in texts() {
        for is_delta in [true, false] {
            let mut state = text.matrix();
            let expected = text.walk(scalar(), (0, text.n), &mut state, is_delta);
            for isa in Isa::available() {
                let ops = Ops::for_isa(isa).expect("an available tier has its operations");
                for len in [1, 2, 5] {
                    let (mut own, mut found) = (text.matrix(), Vec::new());
                    for from in (0..text.n).step_by(len) {
                        found.extend(text.walk(ops, (from, text.n.min(from + len)), &mut own, is_delta));
                    }
                    let what = format!("{} keys on {}, {len} at a time", text.n_key, isa.name());
                    assert_eq!(bits(&found), bits(&expected), "{what}");
                    assert_eq!(bits(&own), bits(&state), "{what}");
                }
            }
        }
    }
}

/// A text for channels that are scanned: the last `n_channels` of all.
struct Scanned {
    n: usize,
    n_state: usize,
    n_channels: usize,
    values: Vec<f32>,
    steps: Vec<f32>,
    shared: Vec<f32>,
    rates: Vec<f32>,
}

impl Scanned {
    const BEFORE: usize = 3;

    fn new(n: usize, n_state: usize, n_channels: usize) -> Self {
        let n_value = n_channels + Self::BEFORE;
        let steps = noise(n * n_value, 52).iter().map(|x| x.abs() / 4.0).collect();
        let rates = noise(n_state * padded_columns(n_channels), 54).iter().map(|x| -x.abs()).collect();
        Self {
            n,
            n_state,
            n_channels,
            values: noise(n * n_value, 51),
            steps,
            shared: noise(n * 2 * n_state, 53),
            rates,
        }
    }

    fn state(&self) -> Vec<f32> {
        noise(self.rates.len(), 55)
    }

    /// The outputs of positions `from..to`, from `state` on.
    fn scan(&self, ops: &Ops, (from, to): (usize, usize), state: &mut [f32]) -> Vec<f32> {
        let n_value = self.n_channels + Self::BEFORE;
        let mut out = vec![0.0; (to - from) * self.n_channels];
        let inputs = ScanInputs {
            n_state: self.n_state,
            values: &self.values[from * n_value..to * n_value],
            n_value,
            steps: &self.steps[from * n_value..to * n_value],
            first: Self::BEFORE,
            shared: &self.shared[from * 2 * self.n_state..to * 2 * self.n_state],
        };
        let columns = ColumnsMut::new(&mut out, self.n_channels, to - from);
        ops.selective_scan(state, &self.rates, inputs, columns);
        out
    }

    /// The same by the formula, in `f64`.
    fn exact(&self, state: &[f32]) -> Vec<f64> {
        let n_value = self.n_channels + Self::BEFORE;
        let at = |c: usize, s: usize| c / 16 * self.n_state * 16 + s * 16 + c % 16;
        let mut h: Vec<f64> = state.iter().map(|x| f64::from(*x)).collect();
        let mut out = Vec::new();
        for i in 0..self.n {
            for c in 0..self.n_channels {
                let of = |row: &[f32]| f64::from(row[i * n_value + Self::BEFORE + c]);
                let (t, x) = (of(&self.steps), of(&self.values));
                let shared = &self.shared[i * 2 * self.n_state..];
                let mut sum = 0.0;
                for s in 0..self.n_state {
                    let decay = libm::exp(t * f64::from(self.rates[at(c, s)]));
                    h[at(c, s)] = decay * h[at(c, s)] + f64::from(shared[s]) * t * x;
                    sum += h[at(c, s)] * f64::from(shared[self.n_state + s]);
                }
                out.push(sum);
            }
        }
        out
    }
}

#[test]
fn scans_follow_their_formula_with_the_same_bits_on_every_tier_however_a_text_is_cut() {
    let sizes = [(1, 1), (16, 5), (16, 16), (7, 40), (64, 33)];
    for text in sizes.into_iter().flat_map(|(s, c)| [0, 1, 5].map(|n| Scanned::new(n, s, c))) {
        let mut state = text.state();
        let exact = text.exact(&state);
        let expected = text.scan(scalar(), (0, text.n), &mut state);
        let scale = exact.iter().fold(1.0, |scale: f64, x| scale.max(x.abs()));
        for (found, exact) in expected.iter().zip(&exact) {
            assert!((f64::from(*found) - exact).abs() < 1e-5 * scale, "{found} for {exact}");
        }
        for isa in Isa::available() {
            let ops = Ops::for_isa(isa).expect("an available tier has its operations");
            for len in [1, 2, 5] {
                let (mut own, mut found) = (text.state(), Vec::new());
                for from in (0..text.n).step_by(len) {
                    found.extend(text.scan(ops, (from, text.n.min(from + len)), &mut own));
                }
                assert_eq!(bits(&found), bits(&expected), "on {}, {len} at a time", isa.name());
                assert_eq!(bits(&own), bits(&state), "on {}, {len} at a time", isa.name());
            }
        }
    }
}

#[test]
fn convolutions_follow_their_formula_on_every_tier() {
    for n in lengths() {
        let rows: Vec<_> = (0..4).map(|j| noise(n, 30 + j)).collect();
        let taps: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let (weights, bias) = (noise(4 * n, 40), noise(n, 41));
        for (n_taps, bias) in [(4, None), (4, Some(bias.as_slice())), (1, None)] {
            let run = |ops: &Ops| {
                let mut out = vec![0.0; n];
                ops.conv(&taps[..n_taps], &weights[..n_taps * n], bias, &mut out);
                out
            };
            let expected = run(scalar());
            for c in 0..n {
                let sum: f64 =
                    (0..n_taps).map(|j| f64::from(taps[j][c]) * f64::from(weights[j * n + c])).sum();
                let exact = sum + bias.map_or(0.0, |bias| f64::from(bias[c]));
                assert!((f64::from(expected[c]) - exact).abs() < 1e-5 * (1.0 + exact.abs()));
            }
            for isa in Isa::available() {
                let ops = Ops::for_isa(isa).expect("an available tier has its operations");
                assert_eq!(bits(&run(ops)), bits(&expected), "{n} channels on {}", isa.name());
            }
        }
    }
}
