//! Divergence: how far a model's predictions are from those of the model it was made from.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::base_file::BaseFile;
use super::chunks::Chunks;
use super::distribution::Distribution;
use super::perplexity::{Perplexity, SLICE_LEN, begin_chunk, check, distribution};
use super::statistics::{Estimate, Moments, covariance_of_means, percentile, share};
use crate::error::{Error, Result};
use crate::runtime::{Logits, Session};

/// Fewer scored tokens than this make no statistics.
pub const MIN_SCORED: usize = 100;

/// What is kept of each scored token, given by the base model (`b`) and the compared one (`q`).
#[derive(Clone, Debug, Default)]
pub struct Divergence {
    // Kullback-Leibler divergence of q from b, in nats.
    kl: Vec<f64>,
    // p_q - p_b of the token that follows in the text.
    delta_p: Vec<f64>,
    // Negative log-likelihoods of that token: (q, b).
    nll: Vec<(f64, f64)>,
    n_same_top: u64,
}

/// A sample's extremes and percentiles.
#[derive(Clone, Debug)]
pub struct Percentiles {
    /// The greatest value.
    pub max: f64,
    /// Pairs of percentage and value, the greatest first.
    pub at: Vec<(f64, f64)>,
    /// The least value.
    pub min: f64,
}

/// The measures of a [`Divergence`], as llama.cpp defines them.
#[derive(Clone, Debug)]
pub struct Report {
    /// Tokens scored.
    pub n_scored: usize,
    /// Perplexity of the base model.
    pub base_perplexity: Estimate,
    /// Perplexity of the compared model.
    pub perplexity: Estimate,
    /// ln(perplexity / base perplexity).
    pub ln_ratio: Estimate,
    /// perplexity / base perplexity.
    pub ratio: Estimate,
    /// perplexity - base perplexity.
    pub difference: Estimate,
    /// Correlation of the two models' log-likelihoods, -1 to 1; NaN if one of them is constant.
    pub correlation: f64,
    /// Mean Kullback-Leibler divergence, in nats.
    pub kl: Estimate,
    /// Percentiles of the divergence.
    pub kl_percentiles: Percentiles,
    /// Mean change of the right token's probability.
    pub delta_p: Estimate,
    /// Root mean square change of the right token's probability.
    pub delta_p_rms: Estimate,
    /// Percentiles of that change.
    pub delta_p_percentiles: Percentiles,
    /// Share of positions where both models find the same token likeliest.
    pub same_top: Estimate,
}

const KL_PERCENTAGES: [f64; 9] = [99.9, 99.0, 95.0, 90.0, 50.0, 10.0, 5.0, 1.0, 0.1];
const DELTA_P_PERCENTAGES: [f64; 11] = [99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1];

impl Divergence {
    /// Adds a position where the text goes on with `next`.
    pub fn push(&mut self, base: &Distribution<'_>, compared: &Distribution<'_>, next: usize) {
        let (ln_b, ln_q) = (base.ln_p(next), compared.ln_p(next));
        self.kl.push(base.divergence_to(compared));
        self.delta_p.push(libm::exp(ln_q) - libm::exp(ln_b));
        self.nll.push((-ln_q, -ln_b));
        self.n_same_top += u64::from(base.top() == compared.top());
    }

    /// Adds what another text gave.
    pub fn append(&mut self, other: &Self) {
        self.kl.extend(&other.kl);
        self.delta_p.extend(&other.delta_p);
        self.nll.extend(&other.nll);
        self.n_same_top += other.n_same_top;
    }

    /// Tokens scored.
    pub fn n_scored(&self) -> usize {
        self.kl.len()
    }

    /// The mean divergence so far, in nats.
    pub fn mean_kl(&self) -> f64 {
        self.kl.iter().copied().collect::<Moments>().mean()
    }

    /// The measures.
    ///
    /// # Panics
    /// If nothing was scored.
    pub fn report(&self) -> Report {
        let perplexity_of = |nll: &mut dyn Iterator<Item = f64>| {
            let mut perplexity = Perplexity::default();
            nll.for_each(|nll| perplexity.push(-nll));
            perplexity
        };
        let compared = perplexity_of(&mut self.nll.iter().map(|&(q, _)| q));
        let base = perplexity_of(&mut self.nll.iter().map(|&(_, b)| b));
        let (nll_q, nll_b) = (compared.mean_nll(), base.mean_nll());
        let (ppl_q, ppl_b) = (compared.estimate(), base.estimate());
        let covariance = covariance_of_means(self.nll.iter().copied());
        let (var_q, var_b) = (nll_q.error * nll_q.error, nll_b.error * nll_b.error);
        let ln_ratio = Estimate {
            value: nll_q.value - nll_b.value,
            error: (var_q + var_b - 2.0 * covariance).max(0.0).sqrt(),
        };
        let ratio = libm::exp(ln_ratio.value);
        let (q, b) = (ppl_q.value, ppl_b.value);
        let difference_variance = q * q * var_q + b * b * var_b - 2.0 * q * b * covariance;
        let delta_p_square = self.delta_p.iter().map(|delta| delta * delta).collect::<Moments>().estimate();
        let rms = delta_p_square.value.sqrt();
        Report {
            n_scored: self.n_scored(),
            base_perplexity: ppl_b,
            perplexity: ppl_q,
            ln_ratio,
            ratio: Estimate { value: ratio, error: ratio * ln_ratio.error },
            difference: Estimate { value: q - b, error: difference_variance.max(0.0).sqrt() },
            correlation: covariance / (nll_q.error * nll_b.error),
            kl: self.kl.iter().copied().collect::<Moments>().estimate(),
            kl_percentiles: percentiles(&self.kl, &KL_PERCENTAGES),
            delta_p: self.delta_p.iter().copied().collect::<Moments>().estimate(),
            // The error of a square root, to first order.
            delta_p_rms: Estimate {
                value: rms,
                error: if rms > 0.0 { 0.5 / rms * delta_p_square.error } else { 0.0 },
            },
            delta_p_percentiles: percentiles(&self.delta_p, &DELTA_P_PERCENTAGES),
            same_top: share(self.n_same_top, self.n_scored() as u64),
        }
    }
}

fn percentiles(values: &[f64], percentages: &[f64]) -> Percentiles {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Percentiles {
        max: sorted[sorted.len() - 1],
        at: percentages.iter().map(|&p| (p, percentile(&sorted, p / 100.0))).collect(),
        min: sorted[0],
    }
}

/// One of the two models.
#[derive(Debug)]
pub struct Side<'a, 'e> {
    /// Computes its logits; holds a chunk.
    pub session: &'a mut Session<'e>,
    /// Its file, for messages.
    pub path: &'a Path,
}

/// What a model is compared with.
#[derive(Debug)]
pub enum Base<'a, 'e> {
    /// Another model.
    Model(Side<'a, 'e>),
    /// Its predictions, on disk.
    File(&'a BaseFile),
}

/// Room for predictions that are read from disk.
#[derive(Debug, Default)]
struct Stored {
    bytes: Vec<u8>,
    rows: Vec<f32>,
}

impl<'a> Base<'a, '_> {
    fn path(&self) -> &'a Path {
        match self {
            Self::Model(side) => side.path,
            Self::File(file) => file.path(),
        }
    }

    /// What it predicts at `positions` of chunk `chunk`, whose tokens are `ids`.
    fn rows<'s>(
        &'s mut self,
        ids: &[u32],
        (chunk, positions): (usize, Range<usize>),
        stored: &'s mut Stored,
    ) -> Result<&'s [f32]> {
        match self {
            Self::Model(side) => side.session.step(&ids[positions], Logits::All),
            Self::File(file) => {
                stored.rows.resize(positions.len() * file.n_vocab(), 0.0);
                for (position, row) in positions.zip(stored.rows.chunks_exact_mut(file.n_vocab())) {
                    file.read((chunk, position), &mut stored.bytes, row)?;
                }
                Ok(&stored.rows)
            }
        }
    }
}

/// Measures how far `compared` is from `base` on `chunks`, a slice of positions at a time: two models run side by
/// side, on exact logits. After each chunk `watch` is told how many are done and the divergence so far.
///
/// # Errors
/// [`Error::Usage`] if the vocabularies differ in length or fewer than [`MIN_SCORED`] tokens would
/// be scored; [`Error::Interrupted`] once `stop` is true; [`Error::Malformed`] for logits that are
/// no numbers; what [`Session::step`] and [`BaseFile::read`] give.
pub fn divergence(
    base: &mut Base<'_, '_>,
    compared: &mut Side<'_, '_>,
    chunks: &Chunks,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(usize, &Divergence),
) -> Result<Divergence> {
    let scored = chunks.scored();
    let n_scored = scored.len() * chunks.n_chunks();
    if n_scored < MIN_SCORED {
        return Err(Error::usage(format!(
            "only {n_scored} tokens would be scored and statistics need at least {MIN_SCORED}; take more chunks or a \
             longer context"
        )));
    }
    let mut result = Divergence::default();
    let (base_path, is_stored) = (base.path(), matches!(base, Base::File(_)));
    let mut stored = Stored::default();
    for index in 0..chunks.n_chunks() {
        let ids = chunks.chunk(index);
        if let Base::Model(base) = base {
            begin_chunk(base.session, &ids[..scored.start], stop)?;
        }
        begin_chunk(compared.session, &ids[..scored.start], stop)?;
        for start in scored.clone().step_by(SLICE_LEN) {
            let end = scored.end.min(start + SLICE_LEN);
            let base_logits = base.rows(&ids, (index, start..end), &mut stored)?;
            let logits = compared.session.step(&ids[start..end], Logits::All)?;
            if base_logits.len() != logits.len() {
                return Err(Error::usage(format!(
                    "{} and {} have vocabularies of different lengths and cannot be compared",
                    base_path.display(),
                    compared.path.display(),
                )));
            }
            let n_vocab = logits.len() / (end - start);
            let rows = base_logits.chunks_exact(n_vocab).zip(logits.chunks_exact(n_vocab));
            for ((base_row, row), &next) in rows.zip(&ids[start + 1..]) {
                let base_row = match is_stored {
                    true => Distribution::of_ln_p(base_row).expect("a vocabulary is not empty"),
                    false => distribution(base_row, base_path)?,
                };
                result.push(&base_row, &distribution(row, compared.path)?, next as usize);
            }
            check(stop)?;
        }
        watch(index + 1, &result);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(probabilities: &[f64]) -> Vec<f32> {
        probabilities.iter().map(|&p| libm::log(p) as f32).collect()
    }

    fn push(divergence: &mut Divergence, base: &[f64], compared: &[f64], next: usize) {
        let (base, compared) = (logits(base), logits(compared));
        let base = Distribution::new(&base).expect("finite");
        divergence.push(&base, &Distribution::new(&compared).expect("finite"), next);
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "found {found}, expected {expected}");
    }

    #[test]
    fn equal_models_do_not_diverge() {
        let mut divergence = Divergence::default();
        for next in [0, 1, 2, 0] {
            push(&mut divergence, &[0.5, 0.3, 0.2], &[0.5, 0.3, 0.2], next);
        }
        let report = divergence.report();
        assert_eq!(report.kl, Estimate { value: 0.0, error: 0.0 });
        assert_eq!(report.delta_p_rms, Estimate { value: 0.0, error: 0.0 });
        assert_eq!(report.same_top.value, 1.0);
        assert_near(report.ln_ratio.value, 0.0);
        assert_near(report.ln_ratio.error, 0.0);
        assert_near(report.correlation, 1.0);
        assert_eq!(report.n_scored, 4);
    }

    #[test]
    fn measures_equal_those_computed_by_hand() {
        let mut divergence = Divergence::default();
        push(&mut divergence, &[0.5, 0.25, 0.25], &[0.25, 0.5, 0.25], 0);
        push(&mut divergence, &[0.5, 0.25, 0.25], &[0.5, 0.25, 0.25], 1);
        let report = divergence.report();
        let ln2 = 2.0_f64.ln();
        // Divergences 0.25 ln 2 and 0.
        assert_near(report.kl.value, 0.125 * ln2);
        assert_near(report.kl.error, 0.125 * ln2);
        assert_near(report.kl_percentiles.max, 0.25 * ln2);
        assert_near(report.kl_percentiles.min, 0.0);
        assert_near(report.kl_percentiles.at[4].1, 0.125 * ln2);
        // Likelihoods: base 1/2, 1/4; compared 1/4, 1/4.
        assert_near(report.base_perplexity.value, 8.0_f64.sqrt());
        assert_near(report.perplexity.value, 4.0);
        assert_near(report.ln_ratio.value, 0.5 * ln2);
        assert_near(report.ratio.value, 2.0_f64.sqrt());
        // The compared one's likelihood is constant, so the base's variance is all there is.
        assert_near(report.ln_ratio.error, 0.5 * ln2);
        assert_near(report.difference.value, 4.0 - 8.0_f64.sqrt());
        assert_near(report.difference.error, 8.0_f64.sqrt() * 0.5 * ln2);
        // Changes of the right token's probability: -1/4 and 0.
        assert_near(report.delta_p.value, -0.125);
        assert_near(report.delta_p_rms.value, (0.0625_f64 / 2.0).sqrt());
        assert_near(report.same_top.value, 0.5);
        assert_near(report.same_top.error, 0.5);
    }
}
