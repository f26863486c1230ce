//! How much memory there is for weights, caches and buffers.

use std::fs;

use crate::error::{Error, Result};
use crate::limits::MAX_DIMENSION;
use crate::model::{Promise, Promises};

mod groups;

/// Promises `n` positions of `position_bytes`.
///
/// # Errors
/// [`Error::Limit`] if they do not fit into what is available beside the promises there are, naming the
/// greatest number that does.
pub(super) fn promise(promises: &Promises, position_bytes: usize, n: usize) -> Result<Promise> {
    promise_of(promises, position_bytes, n, available_bytes())
}

fn promise_of(
    promises: &Promises,
    position_bytes: usize,
    n: usize,
    available: Option<u64>,
) -> Result<Promise> {
    let left = |taken| available.map(|bytes| bytes.saturating_sub(taken));
    let refused = |taken| check_fits_into(position_bytes, n, left(taken));
    refused(promises.promised_bytes())?;
    let n_bytes = position_bytes as u64 * n as u64;
    let promise = promises.take(n_bytes).ok_or_else(|| Error::limit("too many promises of memory"))?;
    // Whoever asks at the same time sees this promise already; an error gives it back.
    refused(promises.promised_bytes() - n_bytes)?;
    Ok(promise)
}

/// Promises `n_bytes` of some positions.
///
/// # Errors
/// [`Error::Limit`] if they do not fit into what is available beside the promises there are.
pub(super) fn promise_bytes(promises: &Promises, n_bytes: u64) -> Result<Promise> {
    let left = available_bytes().unwrap_or(u64::MAX).saturating_sub(promises.promised_bytes());
    let promise = promises.take(n_bytes).filter(|_| n_bytes <= left);
    promise.ok_or_else(|| {
        Error::limit(format!(
            "{} MiB of keys and values are needed and there is room for {} MiB; end some sequences, or use a \
             smaller --ctx",
            n_bytes.div_ceil(1 << 20),
            left >> 20,
        ))
    })
}

/// Checks that `n_ctx` positions of `position_bytes` each fit into what is available, if that is known.
///
/// # Errors
/// [`Error::Limit`] if they do not, naming the greatest number that does.
pub(super) fn check_fits(position_bytes: usize, n_ctx: usize) -> Result<()> {
    check_fits_into(position_bytes, n_ctx, available_bytes())
}

fn check_fits_into(position_bytes: usize, n_ctx: usize, available: Option<u64>) -> Result<()> {
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let needed = position_bytes.checked_mul(n_ctx).and_then(|bytes| u64::try_from(bytes).ok());
    let available = available.unwrap_or(u64::MAX);
    match needed {
        Some(needed) if needed <= available && n_ctx <= MAX_DIMENSION => Ok(()),
        _ => {
            let fits = (available / (position_bytes as u64).max(1)).min(MAX_DIMENSION as u64);
            let needed = gib(needed.unwrap_or(u64::MAX));
            Err(Error::limit(format!(
                "a context of {n_ctx} needs {needed:.2} GiB of key-value cache, and there is room for {fits}; \
                 use --ctx {fits} or less"
            )))
        }
    }
}

/// Bytes that can be allocated without swapping or ending the process: what the system has
/// available, or less where a control group limits this process. `None` where the system does not say.
pub(super) fn available_bytes() -> Option<u64> {
    [system_bytes(), group_bytes()].into_iter().flatten().min()
}

/// Bytes that the system has available for all its processes.
pub(super) fn system_bytes() -> Option<u64> {
    fs::read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemAvailable:"))
}

/// Bytes that the control groups of this process leave it; `None` if they do not limit it.
pub(super) fn group_bytes() -> Option<u64> {
    let read = |path| fs::read_to_string(path).ok();
    groups::left(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
}

/// Bytes that this process holds and that are no pages of files; 0 where the system does not say.
pub(super) fn own_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").ok();
    status.and_then(|text| kibibytes(&text, "RssAnon:")).unwrap_or(0)
}

/// The bytes on the line of Linux's memory reports that starts with `name`, as in `MemAvailable: 5 kB`.
fn kibibytes(report: &str, name: &str) -> Option<u64> {
    let line = report.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_too_long_names_the_one_that_fits() {
        check_fits_into(1024, 1000, Some(1024 * 1000)).unwrap();
        check_fits_into(1024, 1000, None).unwrap();
        let error = check_fits_into(1024, 1001, Some(1024 * 1000)).unwrap_err().to_string();
        assert!(error.contains("--ctx 1000 or less"), "{error}");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        for n_ctx in [usize::MAX, MAX_DIMENSION + 1] {
            let error = check_fits_into(1 << 20, n_ctx, None).unwrap_err();
            assert!(matches!(error, Error::Limit { .. }), "{error}");
        }
    }

    #[test]
    fn memory_is_read_from_the_systems_own_words() {
        let meminfo = "MemTotal:       16000000 kB\nMemAvailable:    8000 kB\nBuffers: 1 kB\n";
        assert_eq!(kibibytes(meminfo, "MemAvailable:"), Some(8000 * 1024));
        assert_eq!(kibibytes("MemTotal: 5 kB\n", "MemAvailable:"), None);
        assert_eq!(kibibytes("MemAvailable: many kB\n", "MemAvailable:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_memory_grows_with_what_is_written() {
        let growth = || {
            let before = own_bytes();
            let written = std::hint::black_box(vec![1u8; 64 << 20]);
            let grown = own_bytes().saturating_sub(before);
            drop(written);
            grown
        };
        // Other tests of this process free memory meanwhile, but not every time.
        assert!((0..20).any(|_| growth() > 32 << 20));
    }
}
