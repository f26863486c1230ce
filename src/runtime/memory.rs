//! How much memory a cache may take.

use std::fs;

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
