//! Speed of prompt processing and of generation.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::perplexity::{check, in_batches};
use super::statistics::percentile;
use crate::error::{Error, Result};
use crate::model::PhaseTimes;
use crate::runtime::{Logits, Random, Sampler, SamplerOptions, Session};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// So many tokens at once.
    Prompt(usize),
    /// So many tokens one after the other.
    Generation(usize),
    /// So many tokens at once and then so many one after the other.
    Mixed(usize, usize),
    /// In so many sequences at once, so many tokens each one after the other.
    Together(usize, usize),
    /// So many tokens at once with the logits of each, as guesses are checked.
    Columns(usize),
}

impl Workload {
    /// Tokens in it.
    pub fn n_tokens(self) -> usize {
        match self {
            Self::Prompt(n) | Self::Generation(n) | Self::Columns(n) => n,
            // A sum that is too great is refused as any context that is.
            Self::Mixed(n_prompt, n) => n_prompt.saturating_add(n),
            Self::Together(n_sequences, n) => n_sequences.saturating_mul(n),
        }
    }

    /// Positions that a sequence of it takes.
    pub fn n_positions(self) -> usize {
        match self {
            Self::Together(_, n) => n,
            _ => self.n_tokens(),
        }
    }

    /// The name that benchmarks of the field give it after `depth` positions, as in `pp256`,
    /// `pp256+tg32` and `tg32 @ d4096`; `tg32 x8` are eight sequences at once, and `col4` are four columns.
    pub fn name(self, depth: usize) -> String {
        let name = match self {
            Self::Prompt(n) => format!("pp{n}"),
            Self::Generation(n) => format!("tg{n}"),
            Self::Mixed(n_prompt, n) => format!("pp{n_prompt}+tg{n}"),
            Self::Together(n_sequences, n) => format!("tg{n} x{n_sequences}"),
            Self::Columns(n) => format!("col{n}"),
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

    /// Seconds of the middle repetition.
    pub fn seconds(&self) -> f64 {
        self.workload.n_tokens() as f64 / self.median()
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
    let ids = ids_of(workload, session);
    let depth = session.n_past();
    session.checkpoint();
    run(session, workload, &ids, stop)?;
    let mut samples = Vec::new();
    for _ in 0..n_repetitions {
        go_back(session, depth, stop)?;
        let start = Instant::now();
        run(session, workload, &ids, stop)?;
        samples.push(ids.len() as f64 / start.elapsed().as_secs_f64());
    }
    go_back(session, depth, stop)?;
    samples.sort_unstable_by(f64::total_cmp);
    Ok(Speed { workload, depth, samples })
}

/// Forgets what a workload has added to `depth` positions, of which [`fill`] made those that cannot be kept.
fn go_back(session: &mut Session<'_>, depth: usize, stop: &AtomicBool) -> Result<()> {
    if session.rewind(depth) < depth { fill(session, depth, stop) } else { Ok(()) }
}

/// Where the time of a workload goes.
#[derive(Clone, Copy, Debug)]
pub struct Breakdown {
    /// The phases of the steps.
    pub phases: PhaseTimes,
    /// Choosing the next token after each step of a generation, with the options that samplers have
    /// unless told.
    pub sampling: Duration,
    /// Tokens evaluated.
    pub n_tokens: usize,
}

impl Breakdown {
    /// The whole time.
    pub fn total(&self) -> Duration {
        let PhaseTimes { matmul, attention, rest, wait } = self.phases;
        matmul + attention + rest + wait + self.sampling
    }
}

/// Runs `workload` another `n_repetitions` times, and says where the time of the middle one goes. Leaves
/// the session as it was.
///
/// # Errors
/// [`Error::Usage`] for no repetitions; [`Error::Malformed`] for logits that are not numbers;
/// [`Error::Interrupted`] once `stop` is true; what [`Session::step`] gives.
pub fn profile(
    session: &mut Session<'_>,
    workload: Workload,
    n_repetitions: usize,
    stop: &AtomicBool,
) -> Result<Breakdown> {
    let ids = ids_of(workload, session);
    let mut found = Vec::new();
    for _ in 0..n_repetitions {
        found.push(profile_once(session, workload, &ids, stop)?);
    }
    found.sort_by_key(Breakdown::total);
    found.get(n_repetitions / 2).copied().ok_or_else(|| Error::usage("a profile needs at least 1 repetition"))
}

fn profile_once(
    session: &mut Session<'_>,
    workload: Workload,
    ids: &[u32],
    stop: &AtomicBool,
) -> Result<Breakdown> {
    let (depth, path) = (session.n_past(), session.engine().file().path());
    let mut sampler = Sampler::new(SamplerOptions::default())?;
    let mut sampling = Duration::ZERO;
    session.checkpoint();
    session.start_profile();
    let ran = run_watched(session, workload, ids, stop, &mut |logits| {
        let start = Instant::now();
        let id = sampler.sample(logits).map_err(|bad| Error::malformed(path, bad.to_string()))?;
        sampler.accept(id);
        sampling += start.elapsed();
        Ok(())
    });
    let phases = session.end_profile().unwrap_or_default();
    go_back(session, depth, stop)?;
    ran.map(|()| Breakdown { phases, sampling, n_tokens: ids.len() })
}

/// Random ids for a workload, the same ones each time.
fn ids_of(workload: Workload, session: &Session<'_>) -> Vec<u32> {
    random_ids(session, &mut Random::new(1)).take(workload.n_tokens()).collect()
}

fn run(session: &mut Session<'_>, workload: Workload, ids: &[u32], stop: &AtomicBool) -> Result<()> {
    run_watched(session, workload, ids, stop, &mut |_| Ok(()))
}

/// Runs a workload; `watch` sees the logits of each step of a generation.
fn run_watched(
    session: &mut Session<'_>,
    workload: Workload,
    ids: &[u32],
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let (prompt, generated) = match workload {
        Workload::Prompt(_) | Workload::Columns(_) => (ids, &[][..]),
        // Of several sequences, one after the other.
        Workload::Generation(_) | Workload::Together(..) => (&[][..], ids),
        Workload::Mixed(n_prompt, _) => ids.split_at(n_prompt),
    };
    if matches!(workload, Workload::Columns(_)) {
        session.step(prompt, Logits::All)?;
        check(stop)?;
    } else {
        in_batches(session, prompt, Logits::Last, stop)?;
    }
    generated.chunks(1).try_for_each(|id| {
        watch(session.step(id, Logits::Last)?)?;
        check(stop)
    })
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
        assert_eq!(Workload::Mixed(256, 32).name(0), "pp256+tg32");
        assert_eq!(Workload::Mixed(256, 32).n_tokens(), 288);
        let together = Workload::Together(8, 32);
        assert_eq!((together.n_tokens(), together.n_positions()), (256, 32));
        assert_eq!(together.name(64), "tg32 x8 @ d64");
        assert_eq!((Workload::Columns(4).name(0), Workload::Columns(4).n_tokens()), ("col4".to_owned(), 4));
    }
}
