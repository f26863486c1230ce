//! One weight file: opened, its tensors found by name and read at their offsets.

use std::collections::BTreeMap;
use std::path::Path;

use super::tensor::{Entry, TensorView};
use super::{safetensors, torch};
use crate::error::Result;
use crate::read_file::ReadFile;

/// An opened safetensors or PyTorch file.
#[derive(Debug)]
pub struct Shard {
    file: ReadFile,
    entries: BTreeMap<String, Entry>,
}

impl Shard {
    /// Opens the file at `path` and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) if it cannot be read, and as [`Self::from_file`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_file(ReadFile::open(path)?)
    }

    /// Checks the header of a file already opened.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::error::Error::Malformed) if it breaks the format's rules,
    /// [`Error::Limit`](crate::error::Error::Limit) if it is too large,
    /// [`Error::Unsupported`](crate::error::Error::Unsupported) for a file of another kind,
    /// [`Error::Io`](crate::error::Error::Io) if it cannot be read.
    pub fn from_file(file: ReadFile) -> Result<Self> {
        let entries =
            if torch::is_torch(&file)? { torch::entries(&file)? } else { safetensors::entries(&file)? };
        Ok(Self { file, entries })
    }

    /// The file.
    pub fn file(&self) -> &ReadFile {
        &self.file
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The names of its tensors, sorted.
    pub fn tensor_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether it has a tensor of this name, of whatever type.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::error::Error::Unsupported) if its elements are of a type that cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        self.entries.get(name).map(|entry| entry.view(name, &self.file)).transpose()
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file.n_bytes()
    }
}
