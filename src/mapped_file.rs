//! Files mapped read-only into memory: the one place in this crate that holds `unsafe` for I/O.

#![allow(unsafe_code, reason = "memory-mapping a file is unsafe by nature; the contract is below")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::Mmap;

use crate::error::{Error, Result};

/// A file mapped read-only.
///
/// # Contract with the user
/// The file must not be changed or truncated in place while it is mapped: the operating system
/// would then show the change, or end the program (SIGBUS). Replacing it by renaming another file
/// over it, as `gguf-convert` does, is safe: the mapping keeps the old file. Nothing read from a
/// mapping is trusted to stay the same: what decides a bound is parsed once into an owned value.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Mapped(Mmap),
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
        // Asked by name before opening: opening a pipe would wait for its writer.
        let kind = fs::metadata(path).map_err(|e| Error::io(path, "cannot open", e))?;
        if kind.is_dir() {
            return Err(Error::usage(format!("{} is a directory; a file is needed here", path.display())));
        }
        if !kind.is_file() {
            return Err(Error::usage(format!(
                "{} is a pipe or a device; only a regular file can be mapped: save it to disk first",
                path.display()
            )));
        }
        let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        let n_bytes = file.metadata().map_err(|e| Error::io(path, "cannot read the size of", e))?.len();
        let content = if n_bytes == 0 {
            Content::Owned(Vec::new())
        } else {
            // SAFETY: the mapping is read-only and private to this value. That nobody truncates
            // the file meanwhile is the user's part of the contract above.
            let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "cannot map", e))?;
            // A hint, which a system may not know: pages not in memory yet are then read as huge ones.
            #[cfg(target_os = "linux")]
            let _ = map.advise(Advice::HugePage);
            Content::Mapped(map)
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// Takes bytes already in memory for a file's content; `path` only names them in messages.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), content: Content::Owned(bytes) }
    }

    /// Reads the whole file into memory, as far as the system lets it, and maps it page by page: what
    /// would otherwise happen bit by bit at the first use of its bytes.
    pub fn populate(&self) {
        #[cfg(target_os = "linux")]
        if let Content::Mapped(map) = &self.content {
            // Where the system refuses (before Linux 5.14), the first use does it.
            let _ = map.advise(Advice::PopulateRead);
        }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map) => map,
            Content::Owned(bytes) => bytes,
        }
    }
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
    fn a_directory_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let message = MappedFile::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_refused_rather_than_read_for_ever() {
        let message = MappedFile::open(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(message.contains("pipe or a device"), "{message}");
    }
}
