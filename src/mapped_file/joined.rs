//! Several files mapped one behind the other.
//!
//! Addresses for all of them are reserved first, as memory that reads as zeros and is never written; then each
//! file is mapped over its place there. Bytes between two files stay zeros.

#![allow(
    unsafe_code,
    reason = "memory-mapping a file is unsafe by nature; the contract is that of MappedFile"
)]

#[cfg(target_os = "linux")]
use std::fs::File;
#[cfg(target_os = "linux")]
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::{MappedFile, fault};
use crate::error::{Error, Result};
use crate::regular_file;

/// What the first file's place is a multiple of: the size of a huge page.
const ALIGNMENT: usize = 2 << 20;

/// Files mapped one behind the other.
#[derive(Debug)]
pub(super) struct Joined {
    /// Dropped before the mapping, which the handler must not know any longer than it is there.
    parts: Vec<Part>,
    /// Where the first file begins in `reserved`.
    start: usize,
    n_bytes: usize,
    reserved: Reserved,
}

#[derive(Debug)]
struct Part {
    /// Its place among the bytes.
    #[cfg(target_os = "linux")]
    span: Range<usize>,
    /// The file, to tell the system what of it need not stay cached.
    #[cfg(target_os = "linux")]
    file: File,
    _registered: Option<fault::Registered>,
}

impl Joined {
    /// Maps `files`, each with the length it is to have.
    ///
    /// # Errors
    /// As [`MappedFile::open_joined`].
    pub(super) fn open(files: &[(PathBuf, u64)]) -> Result<Self> {
        let too_large = || Error::limit("the parts together are larger than this machine can address");
        let starts = MappedFile::joined_starts(files.iter().map(|(_, n)| *n)).ok_or_else(too_large)?;
        // Both are below `isize::MAX`, as `joined_starts` sees to.
        let n_bytes = starts.last().zip(files.last()).map_or(0, |(start, (_, n))| start + *n as usize);
        let reserved = Reserved::new(n_bytes.max(1).checked_add(ALIGNMENT).ok_or_else(too_large)?)?;
        let start = reserved.start.addr().get().next_multiple_of(ALIGNMENT) - reserved.start.addr().get();
        let mut joined = Self { parts: Vec::new(), start, n_bytes, reserved };
        for ((path, n), at) in files.iter().zip(starts) {
            joined.map(path, *n, at)?;
        }
        Ok(joined)
    }

    /// Maps the file at `path` over the bytes from `at` on.
    fn map(&mut self, path: &Path, expected: u64, at: usize) -> Result<()> {
        let file = regular_file::open(path)?;
        let n = file.metadata().map_err(|e| Error::io(path, "cannot read the size of", e))?.len();
        if n != expected {
            return Err(Error::malformed(
                path,
                format!("it changed while it was opened: {n} bytes, and {expected} before"),
            ));
        }
        let span = at..at + n as usize;
        assert!(span.end <= self.n_bytes, "{span:?}");
        if !span.is_empty() {
            let place = self.reserved.start.as_ptr().wrapping_add(self.start + span.start);
            let flags = MapFlags::SHARED | MapFlags::FIXED;
            // SAFETY: the place and the pages behind it, up to a multiple of their size, belong to the reservation,
            // which nothing else points into yet but the files before. The rest is the contract of `MappedFile`.
            let mapped = unsafe { mmap(place.cast(), span.len(), ProtFlags::READ, flags, &file, 0) };
            mapped.map_err(|e| Error::io(path, "cannot map", e.into()))?;
            // A hint, which a system may not know: pages not in memory yet are then read as huge ones.
            #[cfg(target_os = "linux")]
            let _ = super::advise(&self.bytes()[span.clone()], super::Advice::LinuxHugepage);
        }
        let registered = fault::Registered::new(path, &self.bytes()[span.clone()]);
        self.parts.push(Part {
            #[cfg(target_os = "linux")]
            span,
            #[cfg(target_os = "linux")]
            file,
            _registered: registered,
        });
        Ok(())
    }

    /// The bytes of all files, and zeros between them.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the reservation has `start + n_bytes` bytes, all of them readable as long as it lives, and nothing
        // of this process writes them.
        unsafe {
            std::slice::from_raw_parts(self.reserved.start.as_ptr().wrapping_add(self.start), self.n_bytes)
        }
    }

    /// The files that hold some of the bytes, each with where in it they are.
    #[cfg(target_os = "linux")]
    pub(super) fn files_of(&self, range: Range<usize>) -> impl Iterator<Item = (&File, Range<usize>)> {
        self.parts.iter().filter_map(move |Part { span, file, .. }| {
            let (start, end) = (range.start.max(span.start), range.end.min(span.end));
            (start < end).then(|| (file, start - span.start..end - span.start))
        })
    }
}

/// Addresses that are given back when it is dropped, with all that was mapped there.
#[derive(Debug)]
struct Reserved {
    start: NonNull<u8>,
    n_bytes: usize,
}

// SAFETY: it owns memory that is only read.
unsafe impl Send for Reserved {}
// SAFETY: as above.
unsafe impl Sync for Reserved {}

impl Reserved {
    fn new(n_bytes: usize) -> Result<Self> {
        // SAFETY: the system chooses addresses that nothing else has.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), n_bytes, ProtFlags::READ, MapFlags::PRIVATE) };
        match start.map(|start| NonNull::new(start.cast::<u8>())) {
            Ok(Some(start)) => Ok(Self { start, n_bytes }),
            Ok(None) => Err(Error::limit("the system maps files to address 0")),
            Err(e) => Err(Error::limit(format!(
                "the system has no {n_bytes} addresses for the parts of this model ({e}); a limit of this shell \
                 (ulimit -v) may be in the way"
            ))),
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: the addresses are this value's own, and what borrowed from it is gone.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.n_bytes) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
