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
use rustix::mm::Advice;

use crate::error::{Error, Result};
use crate::regular_file;

#[cfg(unix)]
mod fault;
#[cfg(unix)]
mod joined;

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

/// A file mapped read-only, or several one behind the other.
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
    /// Several files, one behind the other.
    #[cfg(unix)]
    Joined(joined::Joined),
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
            let _ = advise(&map, Advice::LinuxHugepage);
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

    /// Maps several files one behind the other, as if they were one. They begin at [`Self::joined_starts`] of
    /// their lengths; between them are zeros. The first one names it.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::Malformed`] if a file is not as long as `files` says, and
    /// [`Error::Unsupported`] where the system cannot do it.
    ///
    /// # Panics
    /// Without any file.
    pub fn open_joined(files: &[(PathBuf, u64)]) -> Result<Self> {
        let path = files[0].0.clone();
        #[cfg(unix)]
        return Ok(Self { content: Content::Joined(joined::Joined::open(files)?), path });
        #[cfg(not(unix))]
        return Err(Error::unsupported(
            &path,
            format!(
                "it is one of the {} parts of a split model, which this system cannot map as one; join them into one \
                 file first: llama-gguf-split --merge FIRST-PART OUTPUT",
                files.len()
            ),
        ));
    }

    /// Where files of these lengths begin when they are mapped as one; `None` if that is more than can be
    /// addressed.
    pub fn joined_starts(n_bytes: impl IntoIterator<Item = u64>) -> Option<Vec<usize>> {
        /// The system maps a file's huge pages only at multiples of their size.
        const HUGE_PAGE: usize = 2 << 20;
        let mut next = 0_usize;
        let place = |n: u64| {
            let start = next;
            let end = start.checked_add(usize::try_from(n).ok()?)?;
            next = end.checked_next_multiple_of(HUGE_PAGE)?;
            isize::try_from(next).ok().map(|_| start)
        };
        n_bytes.into_iter().map(place).collect()
    }

    /// Takes bytes already in memory for a file's content; `path` only names them in messages.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), content: Content::Owned(bytes) }
    }

    /// Whether this system can be told which parts of a file to keep in memory and which to evict.
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
        let bytes = &self.bytes()[range];
        if !self.is_mapped() {
            return Ok(true);
        }
        #[cfg(target_os = "linux")]
        match advise(bytes, Advice::LinuxPopulateRead) {
            Ok(()) => return Ok(true),
            Err(e) if is_read_fault(e) => {
                let why = "the disk reports an error, or the file was shortened while in use; check the disk, or get the \
                           file again";
                return Err(Error::io(&self.path, "cannot read", io::Error::other(why)));
            }
            // Where the system knows no such request (before Linux 5.14), the first use does it.
            Err(_) => {}
        }
        Ok(bytes.is_empty())
    }

    /// Asks the system to read some bytes into memory, those that are not there, and does not wait for them.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn fetch(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes().len(), "{range:?}");
        // What the system does not read now, the first use reads.
        #[cfg(target_os = "linux")]
        self.advise_files(range, rustix::fs::Advice::WillNeed);
    }

    /// Evicts some bytes from memory: of their whole pages those that no other process maps and none has
    /// locked. Their next use reads them again.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn release(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes().len(), "{range:?}");
        #[cfg(target_os = "linux")]
        if self.is_mapped() {
            let _ = forget(&self.bytes()[range.clone()]);
            self.advise_files(range, rustix::fs::Advice::DontNeed);
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
        if !self.is_mapped() || bytes.is_empty() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        // SAFETY: `bytes` lie inside the mapping; locking changes where they are, not what
        // they are. The system rounds to whole pages, all of which belong to the mapping.
        return Ok(unsafe { rustix::mm::mlock(bytes.as_ptr().cast_mut().cast(), bytes.len()) }?);
        #[cfg(not(target_os = "linux"))]
        return Err(io::ErrorKind::Unsupported.into());
    }

    /// Says that of some bytes a few are used here and there: each use then reads little around it.
    ///
    /// # Panics
    /// If the file does not have them.
    pub fn expect_scattered_use(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes().len(), "{range:?}");
        #[cfg(target_os = "linux")]
        if self.is_mapped() {
            // Hints, which a system may not know.
            let _ = advise(&self.bytes()[range.clone()], Advice::LinuxNoHugepage);
            let _ = advise(&self.bytes()[range], Advice::Random);
        }
    }

    fn is_mapped(&self) -> bool {
        !matches!(self.content, Content::Owned(_))
    }

    /// Tells the system what becomes of some bytes, wherever they are on disk.
    #[cfg(target_os = "linux")]
    fn advise_files(&self, range: Range<usize>, advice: rustix::fs::Advice) {
        let advise_file = |file: &File, range: Range<usize>| {
            if let Some(len) = NonZeroU64::new(range.len() as u64) {
                // A refusal leaves everything as it was.
                let _ = rustix::fs::fadvise(file, range.start as u64, Some(len), advice);
            }
        };
        match &self.content {
            Content::Mapped { file, .. } => advise_file(file, range),
            Content::Joined(joined) => {
                joined.files_of(range).for_each(|(file, range)| advise_file(file, range));
            }
            Content::Owned(_) => {}
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
            #[cfg(unix)]
            Content::Joined(joined) => joined.bytes(),
            Content::Owned(bytes) => bytes,
        }
    }
}

/// The pages that hold some bytes of a mapping.
#[cfg(target_os = "linux")]
fn pages(bytes: &[u8]) -> (*mut std::ffi::c_void, usize) {
    let before = bytes.as_ptr().addr() % rustix::param::page_size();
    (bytes.as_ptr().wrapping_sub(before).cast_mut().cast(), before + bytes.len())
}

/// Gives the system a hint about some bytes of a mapping.
#[cfg(target_os = "linux")]
fn advise(bytes: &[u8], advice: Advice) -> rustix::io::Result<()> {
    let (start, len) = pages(bytes);
    debug_assert!(!matches!(advice, Advice::LinuxDontNeed), "that is `forget`");
    // SAFETY: the pages belong to a mapping that lives as long as `bytes`, and none of these hints changes what is
    // in them.
    unsafe { rustix::mm::madvise(start, len, advice) }
}

/// Lets go of where some bytes of a mapping are in memory.
#[cfg(target_os = "linux")]
fn forget(bytes: &[u8]) -> rustix::io::Result<()> {
    let (start, len) = pages(bytes);
    // SAFETY: the mapping is read-only and its pages are those of files, or zeros that were never written: what is
    // forgotten is where they are in memory, and the next use finds the same bytes.
    unsafe { rustix::mm::madvise(start, len, Advice::LinuxDontNeed) }
}

/// Whether populating failed at a page whose use would raise a signal: Linux reports such pages as bad
/// addresses, and broken memory by a number of its own.
#[cfg(target_os = "linux")]
fn is_read_fault(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    [Errno::FAULT, Errno::IO, Errno::HWPOISON].contains(&error)
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
