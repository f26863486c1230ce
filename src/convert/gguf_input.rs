//! A model to convert that is a GGUF file already, or the parts of a split one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Result;
use crate::gguf::{GgufFile, MAGIC, Metadata, TensorInfo, parts};
use crate::new_file::check_not_an_input;
use crate::read_file::ReadFile;

/// An opened model. Only the first part of a split one has all of its metadata.
#[derive(Debug)]
pub struct GgufInput {
    parts: Vec<Part>,
}

/// One file: its header, and its bytes to be read at offsets.
#[derive(Debug)]
struct Part {
    header: GgufFile,
    bytes: ReadFile,
}

impl GgufInput {
    /// Whether `path` is a GGUF file, by its name or its first bytes.
    pub fn is_at(path: &Path) -> bool {
        path.is_file()
            && (path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) || begins_as_gguf(path))
    }

    /// Opens the file at `path`, and the others if it is a part of a split one.
    ///
    /// # Errors
    /// As [`parts::open_all`].
    pub fn open(path: &Path) -> Result<Self> {
        let parts = parts::open_all(path)?.into_iter().map(|header| {
            let bytes = ReadFile::open(header.path())?;
            Ok(Part { header, bytes })
        });
        Ok(Self { parts: parts.collect::<Result<_>>()? })
    }

    /// The path of the file, or of the first part.
    pub fn path(&self) -> &Path {
        self.parts[0].header.path()
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        self.parts[0].header.metadata()
    }

    /// What the offsets of tensors are multiples of, in bytes.
    pub fn alignment(&self) -> usize {
        self.parts[0].header.alignment()
    }

    /// The tensors in the order of the file or of the parts, each with the file that it is in.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&TensorInfo, &ReadFile)> {
        self.parts.iter().flat_map(|part| part.header.tensors().iter().map(|tensor| (tensor, &part.bytes)))
    }

    /// Its files, in order.
    pub(super) fn files(&self) -> impl Iterator<Item = &ReadFile> {
        self.parts.iter().map(|part| &part.bytes)
    }

    /// Refuses to write over what is read.
    ///
    /// # Errors
    /// [`Error::Usage`] if `target` is one of the files.
    pub(super) fn check_target(&self, target: &Path) -> Result<()> {
        check_not_an_input(target, self.parts.iter().map(|part| part.header.path()))
    }

    /// Checks that no file has changed since it was opened.
    ///
    /// # Errors
    /// As [`ReadFile::check_unchanged`].
    pub(super) fn check_unchanged(&self) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.bytes.check_unchanged())
    }

    /// What the file is called without its ending and the number of a part.
    pub(super) fn stem(&self) -> String {
        let n_parts = self.parts.len();
        let stem = if n_parts > 1 { parts::stem(self.path(), n_parts) } else { None };
        stem.unwrap_or_else(|| self.path().file_stem().unwrap_or_default().to_string_lossy().into_owned())
    }
}

/// Whether the file at `path` begins as GGUF files do.
fn begins_as_gguf(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head));
    read.is_ok() && head == MAGIC
}
