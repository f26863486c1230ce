//! Conversions that are stopped, and what they leave.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use gguf_kit::convert::Progress;

/// Asks to stop once some bytes are converted.
#[derive(Default)]
pub(crate) struct StopsEarly(AtomicU64);

impl Progress for StopsEarly {
    fn begin(&self, _total: u64) {}
    fn calibrating(&self, _total: u64) {}
    fn advance(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
    fn verifying(&self) {
        panic!("a stopped conversion is not read back");
    }
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// The names in a folder, hidden ones too.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
