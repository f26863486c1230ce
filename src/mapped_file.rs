//! Files mapped read-only into memory: the one place in this crate that holds `unsafe` for I/O.

#![allow(unsafe_code, reason = "memory-mapping a file is unsafe by nature; the contract is below")]

use std::fs::File;
use std::path::{Path, PathBuf};

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
    // `None` for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps the whole file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or mapped, [`Error::Usage`] if it is a directory.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, "cannot read the size of", e))?;
        if metadata.is_dir() {
            return Err(Error::usage(format!("{} is a directory; a file is needed here", path.display())));
        }
        let map = if metadata.len() == 0 {
            None
        } else {
            // SAFETY: the mapping is read-only and private to this value. That nobody truncates
            // the file meanwhile is the user's part of the contract above.
            Some(unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "cannot map", e))?)
        };
        Ok(Self { path: path.to_owned(), map })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}
