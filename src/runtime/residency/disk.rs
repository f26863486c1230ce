//! How fast the disk gives what is streamed.

use std::time::{Duration, Instant};

use super::parts::Parts;
use crate::mapped_file::MappedFile;

/// Bytes that are enough to measure it.
const ENOUGH_BYTES: usize = 64 << 20;

/// The time after which what was read by then has to do.
const ENOUGH: Duration = Duration::from_millis(300);

/// Bytes per second at which the first pieces come into memory, in the way they will come for every pass.
/// They must not be in memory; then they are, and the first pass finds them there. `None` if there are no
/// pieces or the system does not read on request.
pub(super) fn rate(file: &MappedFile, parts: &Parts) -> Option<f64> {
    let start = Instant::now();
    let mut n_bytes = 0;
    for piece in parts.first_pieces() {
        if !file.populate_range(piece.clone()).unwrap_or(false) {
            return None;
        }
        n_bytes += piece.len();
        if n_bytes >= ENOUGH_BYTES || start.elapsed() > ENOUGH {
            break;
        }
    }
    (n_bytes > 0).then(|| n_bytes as f64 / start.elapsed().as_secs_f64().max(1e-9))
}
