//! How much memory a cache may take.

use std::fs;

use crate::error::{Error, Result};
use crate::limits::MAX_DIMENSION;

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
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| system_available(&text));
    let group = group_available();
    match (system, group) {
        (Some(system), Some(group)) => Some(system.min(group)),
        (system, group) => system.or(group),
    }
}

/// `MemAvailable` of /proc/meminfo.
fn system_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the control group (version 2) of this process leaves.
fn group_available() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    // Inside a container the group's own path may be hidden and its root be what counts.
    let folders = [format!("/sys/fs/cgroup{path}"), "/sys/fs/cgroup".to_owned()];
    folders.iter().find_map(|folder| {
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok();
        left_in_group(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?)
    })
}

/// The limit less what is used and cannot be given back: file pages can.
fn left_in_group(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let file: u64 = stat.lines().find_map(|line| line.strip_prefix("file "))?.trim().parse().ok()?;
    Some(max.saturating_sub(current.saturating_sub(file)))
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
    fn available_memory_is_read_from_the_systems_own_words() {
        let meminfo = "MemTotal:       16000000 kB\nMemAvailable:    8000 kB\nBuffers: 1 kB\n";
        assert_eq!(system_available(meminfo), Some(8000 * 1024));
        assert_eq!(system_available("MemTotal: 5 kB\n"), None);
        assert_eq!(system_available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_cannot_be_given_back() {
        assert_eq!(left_in_group("1000\n", "700\n", "anon 300\nfile 400\nfile_mapped 9\n"), Some(700));
        assert_eq!(left_in_group("1000\n", "5000\n", "file 0\n"), Some(0));
        assert_eq!(left_in_group("max\n", "700\n", "file 400\n"), None);
    }
}
