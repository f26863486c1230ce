//! How much memory the process has used.

/// The most memory that was resident at once, in bytes, with the mapped file's pages; `None` where
/// the system does not say.
pub(super) fn peak_resident_bytes() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    parse_peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Reads the line `VmHWM: 123 kB` of Linux's process status.
fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_read_from_the_status_lines() {
        assert_eq!(parse_peak("VmPeak:\t 9 kB\nVmHWM:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(parse_peak("VmPeak:\t 9 kB\n"), None);
    }
}
