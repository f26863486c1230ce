//! How much memory the process has used.

/// The most memory that was resident at once, in bytes, with the mapped file's pages; `None` where
/// the system does not say.
pub(super) fn peak_resident_bytes() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    parse(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The memory that is resident now and belongs to no file, in bytes: what is taken beyond the mapped
/// file; `None` where the system does not say.
pub(super) fn own_resident_bytes() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    parse(&std::fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// Reads a line as `VmHWM: 123 kB` of Linux's process status.
fn parse(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_read_from_the_status_lines() {
        let status = "VmPeak:\t 9 kB\nVmHWM:\t    1234 kB\nRssAnon:\t 7 kB\n";
        assert_eq!(parse(status, "VmHWM:"), Some(1234 * 1024));
        assert_eq!(parse(status, "RssAnon:"), Some(7 * 1024));
        assert_eq!(parse("VmPeak:\t 9 kB\n", "VmHWM:"), None);
    }
}
