//! The arguments that say what to compute with.

use clap::Args;
use gguf_simd::isa::Isa;

use crate::cli::output::warn;
use crate::cli::values::count;
use crate::error::{Error, Result};
use crate::threads::processor_count;

/// What to compute with.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Computing")]
pub struct ComputeArgs {
    /// Threads to compute with; more than the processors slow each other down [default: one per physical core; for
    /// what waits for memory, as generation does, without efficiency cores where there are others]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub threads: Option<usize>,
    /// CPU tier to use: scalar; avx2, avx-vnni or avx512; neon, neon-dotprod or neon-i8mm. All give the same
    /// text [default: the best this CPU has; environment: GGUF_ISA]
    #[arg(long, value_name = "TIER")]
    pub isa: Option<String>,
}

/// The environment variable used where `--isa` is not given.
const ISA_VARIABLE: &str = "GGUF_ISA";

impl ComputeArgs {
    /// The tier that the flag or else the environment asks for.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such tier or this CPU lacks it.
    pub fn isa(&self) -> Result<Option<Isa>> {
        if let Some(name) = &self.isa {
            return available_isa(name, "--isa").map(Some);
        }
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => available_isa(&name, ISA_VARIABLE).map(Some),
            _ => Ok(None),
        }
    }

    /// The number of threads asked for. Warns if they are more than can run at once.
    ///
    /// # Errors
    /// [`Error::Usage`] for none.
    pub fn threads(&self) -> Result<Option<usize>> {
        checked_threads("--threads", self.threads)
    }
}

/// The number of threads that the option `name` asks for. Warns if they are more than can run at once.
///
/// # Errors
/// [`Error::Usage`] for none.
pub(super) fn checked_threads(name: &str, asked: Option<usize>) -> Result<Option<usize>> {
    if asked == Some(0) {
        return Err(Error::usage(format!("{name} must be at least 1")));
    }
    if let Some(warning) = asked.and_then(|n| too_many(name, n, processor_count())) {
        warn(warning);
    }
    Ok(asked)
}

/// What to say to `n_threads`, asked for by the option `name`, on `n_processors`.
fn too_many(name: &str, n_threads: usize, n_processors: usize) -> Option<String> {
    (n_threads > n_processors).then(|| {
        format!(
            "{n_threads} threads take turns on the {n_processors} processors this process may use and slow each \
             other; {name} {n_processors} or less is faster"
        )
    })
}

fn available_isa(name: &str, asked_by: &str) -> Result<Isa> {
    let names = |tiers: &mut dyn Iterator<Item = Isa>| tiers.map(Isa::name).collect::<Vec<_>>().join(", ");
    let Some(isa) = Isa::from_name(name) else {
        let all = names(&mut Isa::all());
        return Err(Error::usage(format!("{asked_by} {name}: unknown CPU tier; known: {all}")));
    };
    if !isa.is_available() {
        let here = names(&mut Isa::available());
        return Err(Error::usage(format!("{asked_by} {isa}: this CPU lacks it; it has {here}")));
    }
    Ok(isa)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tier_is_refused_with_the_list_of_tiers() {
        let args = ComputeArgs { threads: None, isa: Some("sse9".into()) };
        let message = args.isa().expect_err("no such tier").to_string();
        assert!(message.contains("--isa sse9") && message.contains("avx2"), "{message}");
        let args = ComputeArgs { threads: None, isa: Some("SCALAR".into()) };
        assert_eq!(args.isa().expect("every CPU has it"), Some(Isa::Scalar));
    }

    #[test]
    fn threads_beyond_the_machine_are_warned_of() {
        assert_eq!(too_many("--threads", 4, 4), None);
        let warning = too_many("--threads", 5, 4).expect("one too many");
        assert!(warning.contains("5 threads") && warning.contains("--threads 4 or less"), "{warning}");
    }

    #[test]
    fn tier_this_cpu_lacks_is_refused_with_those_it_has() {
        let missing = Isa::all().find(|isa| !isa.is_available()).expect("no CPU is both x86-64 and aarch64");
        let args = ComputeArgs { threads: None, isa: Some(missing.name().into()) };
        let message = args.isa().expect_err("not on this CPU").to_string();
        assert!(message.contains(missing.name()) && message.contains("it has scalar"), "{message}");
    }
}
