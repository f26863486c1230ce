//! Speed of several sequences that generate at once.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::bench::{Speed, Workload};
use super::perplexity::check;
use crate::error::{Error, Result};
use crate::runtime::{Evaluator, Logits, Part, Random, Sequence, Session};

/// Times `n_sequences` forks of the session's sequence that each generate `n_tokens` random tokens, all of
/// them one token in each step, `n_repetitions` times after one untimed run. Tokens per second are those of all.
///
/// # Errors
/// [`Error::Usage`] for none of any of them; [`Error::Limit`] if there is no memory for the sequences;
/// [`Error::Interrupted`] once `stop` is true; what [`Evaluator::step`] gives.
pub fn time(
    session: &Session<'_>,
    n_sequences: usize,
    n_tokens: usize,
    n_repetitions: usize,
    stop: &AtomicBool,
) -> Result<Speed> {
    let workload = Workload::Together(n_sequences, n_tokens);
    if n_repetitions == 0 || workload.n_tokens() == 0 {
        return Err(Error::usage("a benchmark needs at least 1 sequence, 1 token and 1 repetition"));
    }
    let mut evaluator = Evaluator::new(session.engine(), session.options())?;
    let mut run = || {
        let fork = |_| {
            check(stop)?;
            session.sequence().fork(session.n_past())
        };
        let mut sequences = (0..n_sequences).map(fork).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        generate(&mut evaluator, &mut sequences, n_tokens, stop)?;
        Ok(workload.n_tokens() as f64 / start.elapsed().as_secs_f64())
    };
    run()?;
    let mut samples = (0..n_repetitions).map(|_| run()).collect::<Result<Vec<_>>>()?;
    samples.sort_unstable_by(f64::total_cmp);
    Ok(Speed { workload, depth: session.n_past(), samples })
}

fn generate<'e>(
    evaluator: &mut Evaluator<'e>,
    sequences: &mut [Sequence<'e>],
    n_tokens: usize,
    stop: &AtomicBool,
) -> Result<()> {
    let n_vocab = evaluator.engine().n_vocab() as u64;
    let mut random = Random::new(1);
    for _ in 0..n_tokens {
        let ids: Vec<u32> = sequences.iter().map(|_| (random.next_u64() % n_vocab) as u32).collect();
        let parts = sequences.iter_mut().zip(ids.chunks(1));
        let mut parts: Vec<_> = parts.map(|(sequence, id)| Part::new(sequence, id, Logits::Last)).collect();
        evaluator.step(&mut parts)?;
        check(stop)?;
    }
    Ok(())
}
