//! Files mapped read-only into memory: the one place in this crate that holds `unsafe` for I/O.
//!
//! Bytes that the disk cannot deliver end the program by a signal. [`explain_read_faults`] makes it a message.

#![allow(unsafe_code, reason = "memory-mapping a file is unsafe by nature; the contract is below")]

#[cfg(target_os = "linux")]
use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
#[cfg(target_os = "linux")]
use memmap2::{Advice, UncheckedAdvice};

use crate::error::{Error, Result};
use crate::regular_file;

#[cfg(unix)]
mod fault;

/// From now on a program that reads bytes of a mapped file which the disk cannot deliver, or which are
/// gone because somebody cut the file short, says so on standard error and ends with status 1, rather
/// than with a bare SIGBUS.
///
/// For programs, before they map their first file: it installs a handler of SIGBUS for the whole
/// process. A library that finds one already there keeps it for all other faults.
pub fn explain_read_faults() {
    #[cfg(unix)]
    fault::install();
}

/// A file mapped read-only.
///
/// # Contract with the user
/// The file must not be changed or truncated in place while it is mapped: the operating system
/// would then show the change, or end the program (SIGBUS; see [`explain_read_faults`]). Replacing it by renaming another file
/// over it, as `gguf-convert` does, is safe: the mapping keeps the old file. Nothing read from a
/// mapping is trusted to stay the same: what decides a bound is parsed once into an owned value.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Mapped {
        /// Dropped before the mapping, which the handler must not know any longer than it is there.
        #[cfg(unix)]
        _registered: Option<fault::Registered>,
        map: Mmap,
        /// The file, to tell the system what of it need not stay cached.
        #[cfg(target_os = "linux")]
        file: File,
    },
    /// Bytes that never were a file, and empty files, which cannot be mapped.
    Owned(Vec<u8>),
}

impl MappedFile {
    /// Maps the whole file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or mapped, [`Error::Usage`] if it is a directory, a
    /// pipe or a device.
    pub fn open(path: &Path) -> Result<Self> {
        let file = regular_file::open(path)?;
        let n_bytes = file.metadata().map_err(|e| Error::io(path, "cannot read the size of", e))?.len();
        let content = if n_bytes == 0 {
            Content::Owned(Vec::new())
        } else {
            // SAFETY: the mapping is read-only and private to this value. Not truncating the file
            // meanwhile is the user's part of the contract above.
            let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "cannot map", e))?;
            // A hint, which a system may not know: pages not in memory yet are then read as huge ones.
            #[cfg(target_os = "linux")]
            let _ = map.advise(Advice::HugePage);
            Content::Mapped {
                #[cfg(unix)]
                _registered: fault::Registered::new(path, &map),
                map,
                #[cfg(target_os = "linux")]
                file,
            }
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// Takes bytes already in memory for a file's content; `path` only names them in messages.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), content: Content::Owned(bytes) }
    }

    /// Whether this system can be told which parts of a file to keep in memory and which to let go.
    pub const CAN_STREAM: bool = cfg!(target_os = "linux");

    /// Reads the whole file into memory, as far as the system lets it, and maps it page by page: what
    /// would otherwise happen bit by bit at the first use of its bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if some bytes cannot be read.
    pub fn populate(&self) -> Result<()> {
        self.populate_range(0..self.bytes().len()).map(drop)
    }

    /// As [`MappedFile::populate`], for some bytes. Returns whether they are all in memory now.
    ///
    /// # Errors
    /// [`Error::Io`] if some cannot be read: their use would end the program.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn populate_range(&self, range: Range<usize>) -> Result<bool> {
        let bytes = &self.bytes()[range.clone()];
        match &self.content {
            #[cfg(target_os = "linux")]
            Content::Mapped { map, .. } => {
                match map.advise_range(Advice::PopulateRead, range.start, bytes.len()) {
                    Ok(()) => Ok(true),
                    Err(e) if is_read_fault(&e) => Err(Error::io(
                        &self.path,
                        "cannot read",
                        io::Error::other(
                            "the disk reports an error, or the file was shortened while in use; check the disk, or \
                             get the file again",
                        ),
                    )),
                    // Where the system knows no such request (before Linux 5.14), the first use does it.
                    Err(_) => Ok(false),
                }
            }
            #[cfg(not(target_os = "linux"))]
            Content::Mapped { .. } => Ok(bytes.is_empty()),
            Content::Owned(_) => Ok(true),
        }
    }

    /// Asks the system to read some bytes into memory, those that are not there, and does not wait for them.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn fetch(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes().len(), "{range:?}");
        #[cfg(target_os = "linux")]
        if let (Content::Mapped { file, .. }, Some(len)) =
            (&self.content, NonZeroU64::new(range.len() as u64))
        {
            // What the system does not read now, the first use reads.
            let _ = rustix::fs::fadvise(file, range.start as u64, Some(len), rustix::fs::Advice::WillNeed);
        }
    }

    /// Evicts some bytes from memory: of their whole pages those that no other process maps and none has
    /// locked. Their next use reads them again.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn release(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes().len(), "{range:?}");
        #[cfg(target_os = "linux")]
        if let Content::Mapped { map, file, .. } = &self.content {
            // A refusal leaves everything as it was.
            // SAFETY: the mapping is shared, read-only and backed by the file: what is forgotten is
            // where its pages are in memory, and the next use finds the same bytes in the file.
            let _ =
                unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
            if let Some(len) = NonZeroU64::new(range.len() as u64) {
                let _ =
                    rustix::fs::fadvise(file, range.start as u64, Some(len), rustix::fs::Advice::DontNeed);
            }
        }
    }

    /// Reads some bytes into memory and keeps them there as long as the file is mapped.
    ///
    /// # Errors
    /// The system's reason if it refuses: so much may not be locked, or it cannot be.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn lock(&self, range: Range<usize>) -> io::Result<()> {
        let bytes = &self.bytes()[range];
        match &self.content {
            Content::Mapped { .. } if bytes.is_empty() => Ok(()),
            #[cfg(target_os = "linux")]
            Content::Mapped { .. } => {
                // SAFETY: `bytes` lie inside the mapping; locking changes where they are, not what
                // they are. The system rounds to whole pages, all of which belong to the mapping.
                Ok(unsafe { rustix::mm::mlock(bytes.as_ptr().cast_mut().cast(), bytes.len()) }?)
            }
            #[cfg(not(target_os = "linux"))]
            Content::Mapped { .. } => Err(io::ErrorKind::Unsupported.into()),
            Content::Owned(_) => Ok(()),
        }
    }

    /// Says that of some bytes a few are used here and there: each use then reads little around it.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn expect_scattered_use(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes().len(), "{range:?}");
        #[cfg(target_os = "linux")]
        if let Content::Mapped { map, .. } = &self.content {
            // Hints, which a system may not know.
            let _ = map.advise_range(Advice::NoHugePage, range.start, range.len());
            let _ = map.advise_range(Advice::Random, range.start, range.len());
        }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Mapped { map, .. } => map,
            Content::Owned(bytes) => bytes,
        }
    }
}

/// Whether populating failed at a page whose use would raise a signal: Linux reports such pages as bad
/// addresses, and broken memory by a number of its own.
#[cfg(target_os = "linux")]
fn is_read_fault(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    [libc::EFAULT, libc::EIO, libc::EHWPOISON].iter().any(|&fault| number == Some(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(MappedFile::open(file.path()).unwrap().bytes(), b"");
    }

    #[test]
    fn what_is_no_regular_file_is_not_mapped() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(MappedFile::open(dir.path()), Err(Error::Usage { .. })));
    }

    /// Resident kilobytes of all mappings of the file at `path`, as Linux reports them.
    #[cfg(target_os = "linux")]
    fn resident_kilobytes(path: &Path) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let name = path.to_str().unwrap();
        let mut is_ours = false;
        let mut sum = 0;
        for line in maps.lines() {
            // A mapping's own line begins with its addresses; the lines about it with a name and a colon.
            if line.split(' ').next().is_some_and(|word| !word.ends_with(':')) {
                is_ours = line.ends_with(name);
            } else if let Some(rss) = line.strip_prefix("Rss:").filter(|_| is_ours) {
                sum += rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
        }
        sum
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn parts_come_into_memory_and_go_and_stay_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
        std::fs::write(file.path(), &content).unwrap();
        let mapped = MappedFile::open(file.path()).unwrap();
        let (half, whole) = (1 << 19, 1 << 20);
        if std::env::var_os("GGUF_EMULATED").is_some() {
            eprintln!("skipped: an emulator takes advice on memory and does not follow it");
            return;
        }
        assert!(mapped.populate_range(0..whole).unwrap(), "Linux 5.14 or later");
        assert_eq!(resident_kilobytes(file.path()), 1024);
        mapped.release(half..whole);
        assert_eq!(resident_kilobytes(file.path()), 512);
        mapped.release(0..half);
        assert_eq!(resident_kilobytes(file.path()), 0);
        // Less than every process may lock.
        mapped.lock(4096..8192).unwrap();
        assert!(resident_kilobytes(file.path()) >= 4);
        mapped.expect_scattered_use(half..whole);
        mapped.fetch(0..whole);
        assert_eq!(mapped.bytes(), content);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn populating_a_file_cut_short_is_an_error() {
        if std::env::var_os("GGUF_EMULATED").is_some() {
            eprintln!("skipped: an emulator takes advice on memory and does not follow it");
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let mapped = MappedFile::open(file.path()).unwrap();
        file.as_file().set_len(1 << 16).unwrap();
        assert!(mapped.populate_range(0..1 << 16).unwrap());
        let message = mapped.populate().unwrap_err().to_string();
        assert!(message.contains("the file was shortened"), "{message}");
    }

    #[test]
    fn bytes_that_never_were_a_file_are_always_in_memory() {
        let mapped = MappedFile::from_bytes(Path::new("none"), vec![7; 100]);
        assert!(mapped.populate_range(10..90).unwrap() && mapped.lock(0..100).is_ok());
        mapped.release(0..100);
        assert_eq!(mapped.bytes(), [7; 100]);
    }
}
