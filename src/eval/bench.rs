//! Speed of prompt processing and of generation.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::perplexity::check;
use super::statistics::percentile;
use crate::error::{Error, Result};
use crate::runtime::{Logits, Random, Session};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// So many tokens at once, from an empty cache.
    Prompt(usize),
    /// So many tokens one after the other, from an empty cache.
    Generation(usize),
}

impl Workload {
    /// Tokens in it.
    pub fn n_tokens(self) -> usize {
        match self {
            Self::Prompt(n) | Self::Generation(n) => n,
        }
    }

    /// The name that benchmarks of the field give it, as in `pp256` and `tg32`.
    pub fn name(self) -> String {
        match self {
            Self::Prompt(n) => format!("pp{n}"),
            Self::Generation(n) => format!("tg{n}"),
        }
    }
}

/// Tokens per second over several repetitions.
#[derive(Clone, Debug)]
pub struct Speed {
    /// What was timed.
    pub workload: Workload,
    /// Each repetition's tokens per second, in ascending order; at least one.
    pub samples: Vec<f64>,
}

impl Speed {
    /// The middle sample.
    pub fn median(&self) -> f64 {
        percentile(&self.samples, 0.5)
    }

    /// The slowest sample.
    pub fn min(&self) -> f64 {
        self.samples[0]
    }

    /// The fastest sample.
    pub fn max(&self) -> f64 {
        self.samples[self.samples.len() - 1]
    }
}

/// Times `workload` `n_repetitions` times, after one untimed run that warms the caches. The tokens
/// are random ones below `n_vocab`.
///
/// # Errors
/// [`Error::Usage`] for no repetitions or no tokens; [`Error::Interrupted`] once `stop` is true;
/// what [`Session::step`] gives.
pub fn time(
    session: &mut Session<'_>,
    n_vocab: usize,
    workload: Workload,
    n_repetitions: usize,
    stop: &AtomicBool,
) -> Result<Speed> {
    if n_repetitions == 0 || workload.n_tokens() == 0 {
        return Err(Error::usage("a benchmark needs at least 1 token and 1 repetition"));
    }
    let mut random = Random::new(1);
    let ids: Vec<u32> =
        (0..workload.n_tokens()).map(|_| (random.next_u64() % n_vocab as u64) as u32).collect();
    run(session, workload, &ids, stop)?;
    let mut samples = Vec::with_capacity(n_repetitions);
    for _ in 0..n_repetitions {
        let start = Instant::now();
        run(session, workload, &ids, stop)?;
        samples.push(ids.len() as f64 / start.elapsed().as_secs_f64());
    }
    samples.sort_unstable_by(f64::total_cmp);
    Ok(Speed { workload, samples })
}

fn run(session: &mut Session<'_>, workload: Workload, ids: &[u32], stop: &AtomicBool) -> Result<()> {
    session.clear();
    match workload {
        Workload::Prompt(_) => {
            session.step(ids, Logits::Last)?;
            check(stop)
        }
        Workload::Generation(_) => ids.chunks(1).try_for_each(|id| {
            session.step(id, Logits::Last)?;
            check(stop)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread_come_from_the_samples() {
        let speed = Speed { workload: Workload::Prompt(256), samples: vec![1.0, 2.0, 4.0, 8.0] };
        assert_eq!((speed.min(), speed.median(), speed.max()), (1.0, 3.0, 8.0));
        assert_eq!(speed.workload.name(), "pp256");
        assert_eq!(Workload::Generation(32).name(), "tg32");
    }
}
