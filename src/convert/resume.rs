//! Conversions that go on where a stopped one was.
//!
//! The unfinished files keep their names from run to run, and a journal beside them says of each group of rows that it
//! was written, with what checksum and what its encoding lost. Both are named by a digest of the input, the plans and the
//! encoders ([`cache_key`](super::cache_key)), so that other work never takes them for its own.
//!
//! Nothing is synced on the way. A group counts as done if its bytes in the file have the checksum in the journal;
//! where a crash kept one of the two only, the group is converted again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::new_file::Journal;
use crate::quantize::ErrorStats;

/// Bytes of a group's number, and of what became of it in one file.
const NUMBER_BYTES: usize = 8;
const WRITTEN_BYTES: usize = 4 + 8 + 8 + 8 + 4 + 8;

/// A group of rows in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    /// What its encoding lost.
    pub(super) error: ErrorStats,
    /// The sum of the squared errors that the codes of the source made, as far as they tell.
    pub(super) source_noise: f64,
    /// The CRC-32 of its blocks.
    pub(super) crc: u32,
}

/// What is known of the groups of a conversion.
#[derive(Debug)]
pub(super) struct Resumed {
    journal: Mutex<Journal>,
    /// `[n_groups]`: what became of each in each file, as an earlier run says.
    known: Vec<Option<Vec<Written>>>,
    n_found_bytes: AtomicU64,
}

impl Resumed {
    /// Opens the journal of the work called `key`, whose first file is to be at `target`, of so many groups in so many
    /// files. `None` if another program does it.
    pub(super) fn open(target: &Path, key: &str, n_groups: usize, n_files: usize) -> Result<Option<Self>> {
        let n_bytes = NUMBER_BYTES + n_files * WRITTEN_BYTES;
        let Some((journal, records)) = Journal::open(target, key, n_bytes)? else { return Ok(None) };
        let mut known = vec![None; n_groups];
        for record in records {
            let (number, written) = record.split_at(NUMBER_BYTES);
            let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
            if let Some(place) = usize::try_from(number).ok().and_then(|number| known.get_mut(number)) {
                *place = Some(written.chunks_exact(WRITTEN_BYTES).map(decoded).collect());
            }
        }
        Ok(Some(Self { journal: Mutex::new(journal), known, n_found_bytes: AtomicU64::new(0) }))
    }

    /// What an earlier run says of group `number`.
    pub(super) fn known(&self, number: usize) -> Option<&[Written]> {
        self.known[number].as_deref()
    }

    /// Notes what became of group `number`, whose bytes were written.
    pub(super) fn add(&self, number: usize, written: &[Written]) -> Result<()> {
        let mut record = (number as u64).to_le_bytes().to_vec();
        written.iter().for_each(|written| encode(written, &mut record));
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).add(&record)
    }

    /// Counts source bytes that were found converted.
    pub(super) fn count_found(&self, n_bytes: u64) {
        self.n_found_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// Source bytes that were found converted.
    pub(super) fn n_found_bytes(&self) -> u64 {
        self.n_found_bytes.load(Ordering::Relaxed)
    }

    /// Whether no earlier run left anything.
    pub(super) fn is_new(&self) -> bool {
        self.known.iter().all(Option::is_none)
    }

    /// Forgets everything.
    pub(super) fn remove(self) {
        self.journal.into_inner().unwrap_or_else(PoisonError::into_inner).remove();
    }
}

fn encode(written: &Written, record: &mut Vec<u8>) {
    let Written { error, source_noise, crc } = written;
    record.extend(crc.to_le_bytes());
    record.extend(error.n.to_le_bytes());
    record.extend(error.sum_squared_error.to_le_bytes());
    record.extend(error.sum_squares.to_le_bytes());
    record.extend(error.max_error.to_le_bytes());
    record.extend(source_noise.to_le_bytes());
}

fn decoded(bytes: &[u8]) -> Written {
    let four = |at: usize| bytes[at..at + 4].try_into().expect("four bytes");
    let eight = |at: usize| bytes[at..at + 8].try_into().expect("eight bytes");
    let error = ErrorStats {
        n: u64::from_le_bytes(eight(4)),
        sum_squared_error: f64::from_le_bytes(eight(12)),
        sum_squares: f64::from_le_bytes(eight(20)),
        max_error: f32::from_le_bytes(four(28)),
    };
    Written { error, source_noise: f64::from_le_bytes(eight(32)), crc: u32::from_le_bytes(four(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_group_is_found_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("m.gguf");
        let open = || Resumed::open(&target, &"a".repeat(24), 3, 2).expect("writable").expect("free");
        let written = |crc| Written {
            error: ErrorStats { n: 7, sum_squared_error: 1e-300, sum_squares: 0.1 + 0.2, max_error: 0.5 },
            source_noise: 1.0 / 3.0,
            crc,
        };
        let first = open();
        assert_eq!(first.known(1), None);
        first.add(1, &[written(5), written(6)]).expect("written");
        drop(first);
        let second = open();
        assert_eq!(second.known(1), Some(&[written(5), written(6)][..]));
        assert_eq!(second.known(2), None);
        second.remove();
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}
