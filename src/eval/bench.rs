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
    /// So many tokens at once.
    Prompt(usize),
    /// So many tokens one after the other.
    Generation(usize),
}

impl Workload {
    /// Tokens in it.
    pub fn n_tokens(self) -> usize {
        match self {
            Self::Prompt(n) | Self::Generation(n) => n,
        }
    }

    /// The name that benchmarks of the field give it after `depth` positions, as in `pp256` and
    /// `tg32 @ d4096`.
    pub fn name(self, depth: usize) -> String {
        let name = match self {
            Self::Prompt(n) => format!("pp{n}"),
            Self::Generation(n) => format!("tg{n}"),
        };
        if depth == 0 { name } else { format!("{name} @ d{depth}") }
    }
}

/// Tokens per second over several repetitions.
#[derive(Clone, Debug)]
pub struct Speed {
    /// What was timed.
    pub workload: Workload,
    /// The positions that were filled before.
    pub depth: usize,
    /// Each repetition's tokens per second, in ascending order; at least one.
    pub samples: Vec<f64>,
}

impl Speed {
    /// What was timed, and after how many positions.
    pub fn name(&self) -> String {
        self.workload.name(self.depth)
    }

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

/// Empties the session and fills `depth` positions with random tokens.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` is true; what [`Session::step`] gives.
pub fn fill(session: &mut Session<'_>, depth: usize, stop: &AtomicBool) -> Result<()> {
    session.clear();
    let mut random = Random::new(2);
    let mut ids = Vec::new();
    while session.n_past() < depth {
        ids.clear();
        ids.extend(random_ids(session, &mut random).take(session.n_batch().min(depth - session.n_past())));
        session.step(&ids, Logits::None)?;
        check(stop)?;
    }
    Ok(())
}

fn random_ids(session: &Session<'_>, random: &mut Random) -> impl Iterator<Item = u32> {
    let n_vocab = session.engine().n_vocab() as u64;
    std::iter::repeat_with(move || (random.next_u64() % n_vocab) as u32)
}

/// Times `workload` after the positions that are filled, `n_repetitions` times, after one untimed run
/// that warms the caches. The tokens are random. Leaves the session as it was.
///
/// # Errors
/// [`Error::Usage`] for no repetitions or no tokens; [`Error::Interrupted`] once `stop` is true;
/// what [`Session::step`] gives.
pub fn time(
    session: &mut Session<'_>,
    workload: Workload,
    n_repetitions: usize,
    stop: &AtomicBool,
) -> Result<Speed> {
    if n_repetitions == 0 || workload.n_tokens() == 0 {
        return Err(Error::usage("a benchmark needs at least 1 token and 1 repetition"));
    }
    let mut random = Random::new(1);
    let ids: Vec<u32> = random_ids(session, &mut random).take(workload.n_tokens()).collect();
    let depth = session.n_past();
    run(session, workload, &ids, stop)?;
    let mut samples = Vec::with_capacity(n_repetitions);
    for _ in 0..n_repetitions {
        session.truncate(depth);
        let start = Instant::now();
        run(session, workload, &ids, stop)?;
        samples.push(ids.len() as f64 / start.elapsed().as_secs_f64());
    }
    session.truncate(depth);
    samples.sort_unstable_by(f64::total_cmp);
    Ok(Speed { workload, depth, samples })
}

fn run(session: &mut Session<'_>, workload: Workload, ids: &[u32], stop: &AtomicBool) -> Result<()> {
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
        let speed = Speed { workload: Workload::Prompt(256), depth: 0, samples: vec![1.0, 2.0, 4.0, 8.0] };
        assert_eq!((speed.min(), speed.median(), speed.max()), (1.0, 3.0, 8.0));
        assert_eq!(speed.name(), "pp256");
        assert_eq!(Workload::Generation(32).name(4096), "tg32 @ d4096");
    }
}
