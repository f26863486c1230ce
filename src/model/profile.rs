//! Where the time of a step goes, as its caller's thread sees it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::threads::ThreadPool;

/// What a step is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: no step is under way.
    Outside,
    /// Products with weight matrices.
    Matmul,
    /// Scores and weighted sums over the cache.
    Attention,
    /// Everything else: norms, rotations, activations, embeddings.
    Rest,
    /// Waiting, for the other threads or for weights to be read.
    Wait,
}

/// Time spent in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    /// In [`Phase::Matmul`].
    pub matmul: Duration,
    /// In [`Phase::Attention`].
    pub attention: Duration,
    /// In [`Phase::Rest`].
    pub rest: Duration,
    /// In [`Phase::Wait`].
    pub wait: Duration,
}

/// Accumulates the time of each phase of one caller's steps. The numbers are atomic only because the threads of a
/// region can see them; they change between regions.
#[derive(Debug)]
pub struct Profile {
    start: Instant,
    phase: AtomicU64,
    /// When the phase began, in nanoseconds since `start`.
    since: AtomicU64,
    /// What the pool had waited then, in nanoseconds.
    waited: AtomicU64,
    /// `[phases]`, in nanoseconds.
    spent: [AtomicU64; Phase::COUNT],
}

impl Phase {
    const COUNT: usize = 5;
}

impl Profile {
    /// A profile outside of all steps. The pool is to time its waits ([`ThreadPool::time_waits`]).
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            phase: AtomicU64::new(Phase::Outside as u64),
            since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            spent: [const { AtomicU64::new(0) }; Phase::COUNT],
        }
    }

    /// Ends the current phase and begins another. Time that `pool` spent waiting counts as waiting.
    pub fn enter(&self, phase: Phase, pool: &ThreadPool) {
        let (now, waited) = (nanos(self.start.elapsed()), nanos(pool.waited()));
        let before = self.phase.swap(phase as u64, Relaxed) as usize;
        let elapsed = now.saturating_sub(self.since.swap(now, Relaxed));
        let waited = waited.saturating_sub(self.waited.swap(waited, Relaxed)).min(elapsed);
        self.spent[before].fetch_add(elapsed - waited, Relaxed);
        self.spent[Phase::Wait as usize].fetch_add(waited, Relaxed);
    }

    /// The times so far.
    pub fn times(&self) -> PhaseTimes {
        let of = |phase: Phase| Duration::from_nanos(self.spent[phase as usize].load(Relaxed));
        PhaseTimes {
            matmul: of(Phase::Matmul),
            attention: of(Phase::Attention),
            rest: of(Phase::Rest),
            wait: of(Phase::Wait),
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::new()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_added_to_the_phase_it_was_spent_in() {
        let pool = ThreadPool::new(1).unwrap();
        let profile = Profile::new();
        let pause = Duration::from_millis(2);
        for phase in [Phase::Matmul, Phase::Attention, Phase::Matmul, Phase::Outside, Phase::Wait] {
            profile.enter(phase, &pool);
            std::thread::sleep(pause);
        }
        profile.enter(Phase::Outside, &pool);
        let times = profile.times();
        assert!(times.matmul >= 2 * pause && times.attention >= pause && times.wait >= pause, "{times:?}");
        assert_eq!(times.rest, Duration::ZERO);
        std::thread::sleep(pause);
        assert_eq!(profile.times(), times, "outside of steps nothing is counted");
    }

    #[test]
    fn waiting_for_other_threads_is_told_apart() {
        let pool = ThreadPool::new(2).unwrap();
        pool.time_waits(true);
        let profile = Profile::new();
        profile.enter(Phase::Matmul, &pool);
        let caller = std::thread::current().id();
        pool.run_parts(&mut [0, 1], |_, _| {
            if std::thread::current().id() != caller {
                std::thread::sleep(Duration::from_millis(5));
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        profile.enter(Phase::Outside, &pool);
        let times = profile.times();
        assert!(times.matmul >= Duration::from_millis(1), "{times:?}");
        assert!(times.wait > Duration::ZERO && times.wait == pool.waited(), "{times:?}");
    }
}
