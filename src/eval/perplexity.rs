//! Perplexity: how surprised a model is by a text.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chunks::Chunks;
use super::distribution::Distribution;
use super::statistics::{Estimate, Moments};
use crate::error::{Error, Result};
use crate::runtime::{Logits, Session};

/// Positions whose logits are computed at once: enough for the matrix kernels, and few enough that
/// the logits of a large vocabulary stay small (128 Ki words: 32 MiB).
pub(super) const SLICE_LEN: usize = 64;

/// The perplexity of the tokens scored so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perplexity {
    nll: Moments,
}

impl Perplexity {
    /// Adds a token that the model gave the log-probability `ln_p`.
    pub fn push(&mut self, ln_p: f64) {
        self.nll.push(-ln_p);
    }

    /// Tokens scored.
    pub fn n_scored(&self) -> u64 {
        self.nll.n()
    }

    /// The mean negative log-likelihood of a token, in nats, and its standard error.
    pub fn mean_nll(&self) -> Estimate {
        self.nll.estimate()
    }

    /// exp(mean nll), and its standard error to first order.
    pub fn estimate(&self) -> Estimate {
        let nll = self.nll.estimate();
        let value = libm::exp(nll.value);
        Estimate { value, error: value * nll.error }
    }
}

/// Measures the perplexity of `chunks`, whose length fits `session`. `keep` gets the predictions at each position
/// that is scored; after each chunk `watch` is told how many are done and the perplexity so far.
///
/// # Errors
/// What `keep` gives; [`Error::Interrupted`] once `stop` is true; [`Error::Malformed`] naming `path` for logits that
/// are not numbers; what [`Session::step`] gives.
pub fn perplexity(
    session: &mut Session<'_>,
    path: &Path,
    chunks: &Chunks,
    stop: &AtomicBool,
    keep: &mut dyn FnMut(&Distribution<'_>) -> Result<()>,
    watch: &mut dyn FnMut(usize, &Perplexity),
) -> Result<Perplexity> {
    let mut result = Perplexity::default();
    for index in 0..chunks.n_chunks() {
        let ids = chunks.chunk(index);
        let scored = chunks.scored();
        begin_chunk(session, &ids[..scored.start], stop)?;
        for start in scored.clone().step_by(SLICE_LEN) {
            let end = scored.end.min(start + SLICE_LEN);
            let logits = session.step(&ids[start..end], Logits::All)?;
            let n_vocab = logits.len() / (end - start);
            for (row, &next) in logits.chunks_exact(n_vocab).zip(&ids[start + 1..]) {
                let row = distribution(row, path)?;
                keep(&row)?;
                result.push(row.ln_p(next as usize));
            }
            check(stop)?;
        }
        watch(index + 1, &result);
    }
    Ok(result)
}

/// Empties the session and evaluates `ids` without computing logits.
pub(super) fn begin_chunk(session: &mut Session<'_>, ids: &[u32], stop: &AtomicBool) -> Result<()> {
    session.clear();
    in_batches(session, ids, Logits::None, stop)
}

/// Evaluates `ids` in the batches that one step would cut them into; the logits `wanted` are
/// those of the last batch.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` is true; what [`Session::step`] gives.
pub(super) fn in_batches(
    session: &mut Session<'_>,
    ids: &[u32],
    wanted: Logits,
    stop: &AtomicBool,
) -> Result<()> {
    let mut batches = ids.chunks(session.n_batch()).peekable();
    while let Some(batch) = batches.next() {
        session.step_until(batch, if batches.peek().is_some() { Logits::None } else { wanted }, stop)?;
    }
    Ok(())
}

/// The distribution of a row of logits of the model at `path`.
pub(super) fn distribution<'a>(row: &'a [f32], path: &Path) -> Result<Distribution<'a>> {
    Distribution::new(row).ok_or_else(|| {
        Error::malformed(path, "the model computes logits that are not numbers; convert or download it again")
    })
}

pub(super) fn check(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_is_the_inverse_geometric_mean_of_the_probabilities() {
        let mut perplexity = Perplexity::default();
        for p in [0.5_f64, 0.125, 0.25, 0.25] {
            perplexity.push(p.ln());
        }
        let Estimate { value, error } = perplexity.estimate();
        assert!((value - 4.0).abs() < 1e-12, "{value}");
        // The logarithms are ln 2 times 1, 3, 2, 2: a spread of 2 (ln 2)^2 over 4 values.
        let expected = 4.0 * (2.0 / 4.0 / 3.0_f64).sqrt() * 2.0_f64.ln();
        assert!((error - expected).abs() < 1e-12, "{error}");
        assert_eq!(perplexity.n_scored(), 4);
    }

    #[test]
    fn broken_logits_name_the_file() {
        let message = distribution(&[f32::NAN], Path::new("m.gguf")).expect_err("NaN").to_string();
        assert!(message.contains("m.gguf"), "{message}");
    }
}
