//! How many threads to compute with.

use std::fmt;

use super::processor_count;
use super::topology::{self, Cores};
use crate::limits::MAX_THREADS;

/// The threads to compute with unless told otherwise, fewer where a container's quota allows less.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ThreadCounts {
    /// For few tokens, which memory bounds: one for each physical core that the process may run on, without
    /// efficiency cores where there are others.
    pub few: usize,
    /// For many tokens, and whatever else is bound by arithmetic: one for each physical core.
    pub many: usize,
}

impl ThreadCounts {
    /// Those for the processors that this process may run on.
    pub fn of_machine() -> Self {
        let cores = topology::cores().unwrap_or_else(|| {
            let n = num_cpus::get_physical();
            Cores { fast: n, all: n }
        });
        let [few, many] = [cores.fast, cores.all].map(|n| processor_count().min(n).clamp(1, MAX_THREADS));
        Self { few, many }
    }

    /// The same number for everything.
    pub fn same(n_threads: usize) -> Self {
        Self { few: n_threads, many: n_threads }
    }

    /// The threads that `n_tokens` at once are computed with.
    pub fn of_tokens(self, n_tokens: usize) -> usize {
        if n_tokens > MAX_FEW { self.many } else { self.few }
    }

    /// Those that a pool for both needs.
    pub fn most(self) -> usize {
        self.few.max(self.many)
    }
}

impl fmt::Display for ThreadCounts {
    /// As in `4 threads` or `4 threads, 12 for prompts`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { few, many } = self;
        write!(f, "{few} thread{}", if *few == 1 { "" } else { "s" })?;
        if few == many { Ok(()) } else { write!(f, ", {many} for prompts") }
    }
}

/// Tokens at once, up to which reading the weights takes longer than multiplying with them.
const MAX_FEW: usize = 8;
