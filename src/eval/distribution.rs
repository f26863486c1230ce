//! The distribution that a row of logits stands for, and how far two of them are apart.

/// Logits as log-probabilities: `ln p(i) = logits[i] - max - ln_sum`.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    logits: &'a [f32],
    max: f32,
    ln_sum: f64,
    top: usize,
}

/// Tokens that the base gives less than e^-16 are left out of a divergence, as llama.cpp leaves them
/// out: its stored base logits end there.
const LN_P_FLOOR: f64 = -16.0;

impl<'a> Distribution<'a> {
    /// The distribution of `logits: [n_vocab]`; `None` if one of them is NaN or plus infinity, or
    /// none is finite.
    pub fn new(logits: &'a [f32]) -> Option<Self> {
        let mut top = 0;
        for (i, &logit) in logits.iter().enumerate() {
            if logit.is_nan() || logit == f32::INFINITY {
                return None;
            }
            if logit > logits[top] {
                top = i;
            }
        }
        let max = *logits.get(top)?;
        if max == f32::NEG_INFINITY {
            return None;
        }
        let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - f64::from(max))).sum();
        Some(Self { logits, max, ln_sum: libm::log(sum), top })
    }

    /// The distribution of which `ln_p: [n_vocab]` are the log-probabilities, as far as they are known; `None` if
    /// there are none.
    pub fn of_ln_p(ln_p: &'a [f32]) -> Option<Self> {
        let first_greatest = |top: usize, i: usize| if ln_p[i] > ln_p[top] { i } else { top };
        let top = (0..ln_p.len()).reduce(first_greatest)?;
        Some(Self { logits: ln_p, max: 0.0, ln_sum: 0.0, top })
    }

    /// What it was made of.
    pub fn logits(&self) -> &'a [f32] {
        self.logits
    }

    /// The natural logarithm of the sum of all probabilities, each over the greatest.
    pub fn ln_sum(&self) -> f64 {
        self.ln_sum
    }

    /// The natural logarithm of token `i`'s probability.
    pub fn ln_p(&self, i: usize) -> f64 {
        f64::from(self.logits[i]) - f64::from(self.max) - self.ln_sum
    }

    /// The likeliest token, the first among equals.
    pub fn top(&self) -> usize {
        self.top
    }

    /// Kullback-Leibler divergence of `other` from this distribution, in nats: the sum of
    /// `p (ln p - ln q)` over the tokens with `ln p > -16`.
    pub fn divergence_to(&self, other: &Distribution<'_>) -> f64 {
        let terms = (0..self.logits.len()).filter_map(|i| {
            let ln_p = self.ln_p(i);
            (ln_p > LN_P_FLOOR).then(|| libm::exp(ln_p) * (ln_p - other.ln_p(i)))
        });
        terms.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits<const N: usize>(probabilities: [f64; N], shift: f32) -> [f32; N] {
        probabilities.map(|p| libm::log(p) as f32 + shift)
    }

    #[test]
    fn log_probabilities_do_not_depend_on_a_shift() {
        for shift in [0.0, 64.0, -64.0] {
            let row = logits([0.5, 0.25, 0.25], shift);
            let distribution = Distribution::new(&row).expect("finite");
            assert!((distribution.ln_p(0) - 0.5_f64.ln()).abs() < 1e-5);
            assert!((distribution.ln_p(2) - 0.25_f64.ln()).abs() < 1e-5);
        }
    }

    #[test]
    fn top_is_the_first_of_equals() {
        assert_eq!(Distribution::new(&[1.0, 3.0, 3.0]).expect("finite").top(), 1);
    }

    #[test]
    fn divergence_is_the_textbook_sum() {
        let (p, q) = (logits([0.5, 0.25, 0.25], 3.0), logits([0.25, 0.5, 0.25], -1.0));
        let (p, q) = (Distribution::new(&p).expect("finite"), Distribution::new(&q).expect("finite"));
        // 0.5 ln 2 - 0.25 ln 2.
        assert!((p.divergence_to(&q) - 0.25 * 2.0_f64.ln()).abs() < 1e-6);
        assert_eq!(p.divergence_to(&p), 0.0);
    }

    #[test]
    fn divergence_leaves_out_tokens_the_base_finds_impossible() {
        let (p, q) = ([0.0, -17.0], [0.0, f32::NEG_INFINITY]);
        let (p, q) = (Distribution::new(&p).expect("finite"), Distribution::new(&q).expect("finite"));
        assert!(p.divergence_to(&q).abs() < 1e-6);
    }

    #[test]
    fn broken_rows_are_no_distribution() {
        for row in [&[0.0, f32::NAN][..], &[f32::NAN, 0.0], &[f32::INFINITY], &[f32::NEG_INFINITY; 2], &[]] {
            assert!(Distribution::new(row).is_none(), "{row:?}");
        }
    }
}
