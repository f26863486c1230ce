//! How much memory there is, and what a model and its sessions take of it.

use std::fs;

use crate::gguf::Metadata;

mod demand;
mod groups;
mod room;

pub use demand::Demand;
pub(super) use demand::{check_session, check_start, greatest_that, mebibytes, shown};
pub(super) use room::{Bound, Reserved, Room};

/// Bytes that the tokenizer of `metadata` takes, about and rather less than it does. One of byte-level BPE with
/// 151,936 tokens and as many merges takes about 30 MiB, as measured; this says 29.
pub(super) fn tokenizer_bytes(metadata: &Metadata) -> u64 {
    /// Of each token: its text several times over, its type and score, its place in tables.
    const TOKEN_BYTES: u64 = 120;
    /// Of each merge: its text, and its place in the table of pairs.
    const MERGE_BYTES: u64 = 80;
    // What is wrong with them, the tokenizer says.
    let n = |key| metadata.array_len(key).ok().flatten().unwrap_or(0) as u64;
    n("tokenizer.ggml.tokens") * TOKEN_BYTES + n("tokenizer.ggml.merges") * MERGE_BYTES
}

/// Bytes that the system has available for all its processes.
fn system_bytes() -> Option<u64> {
    fs::read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemAvailable:"))
}

/// Bytes that the control groups of this process leave it; `None` if they do not limit it.
fn group_bytes() -> Option<u64> {
    let read = |path| fs::read_to_string(path).ok();
    groups::left(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
}

/// Bytes that this process holds and that are not pages of files; 0 where the system does not say.
fn own_bytes() -> u64 {
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
    fn memory_is_read_from_the_systems_own_words() {
        let meminfo = "MemTotal:       16000000 kB\nMemAvailable:    8000 kB\nBuffers: 1 kB\n";
        assert_eq!(kibibytes(meminfo, "MemAvailable:"), Some(8000 * 1024));
        assert_eq!(kibibytes("MemTotal: 5 kB\n", "MemAvailable:"), None);
        assert_eq!(kibibytes("MemAvailable: many kB\n", "MemAvailable:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_memory_includes_what_was_written() {
        let written = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(own_bytes() >= 64 << 20);
        drop(written);
    }
}
