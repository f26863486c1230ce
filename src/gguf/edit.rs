//! Changes the metadata of a file and leaves its tensors as they are, of whatever types.
//!
//! The tensors' offsets count from the end of the header, padded to the alignment. Where the new header ends in
//! the same place it is written over the old one, with a journal beside the file until it is on disk. A shorter
//! one is brought there by a pair of padding, which the next edit takes away again. A longer one makes a new
//! file, which takes the place of the old one when it is on disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::layout::{check_metadata, encode_pairs};
use super::parts::SPLIT_KEYS;
use super::reader::GgufFile;
use super::value::Value;
use super::{ALIGNMENT_KEY, MAGIC, journal};
use crate::error::{Error, Result};
use crate::new_file::{NewFile, free_target, target_of};

/// The pair that fills a header up to where the tensors begin. Readers pass over keys that they do not know.
const PADDING_KEY: &str = "general.padding";

/// What an edit did to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// The header was written over the old one.
    InPlace,
    /// A new file took the place of the old one, or has another name.
    Rewritten,
}

/// A changed header, and what becomes of the file with it.
#[derive(Debug)]
pub struct Edit {
    path: PathBuf,
    header: Vec<u8>,
    /// Where the tensors begin now, or would begin.
    data_start: usize,
    /// The bytes of the file from there on; `None` if it ends before.
    data_len: Option<u64>,
}

/// Whether a key belongs to the layout of a file, so that changing it would break the file.
pub fn is_of_layout(key: &str) -> bool {
    key == ALIGNMENT_KEY || SPLIT_KEYS.contains(&key)
}

/// Undoes an edit of the file at `path` that a crash cut short. Returns whether there was one.
///
/// # Errors
/// [`Error::Io`] or [`Error::Malformed`] if what is left of it cannot be used.
pub fn recover(path: &Path) -> Result<bool> {
    journal::restore(&file_of(path)?)
}

/// Whether a crash cut short an edit of the file at `path`, which [`recover`] undoes.
///
/// # Errors
/// [`Error::Usage`] if `path` leads to no file.
pub fn is_cut_short(path: &Path) -> Result<bool> {
    Ok(journal::exists(&file_of(path)?))
}

/// The file itself: links to it have no journals of their own.
fn file_of(path: &Path) -> Result<PathBuf> {
    target_of(path, "model.gguf")
}

impl Edit {
    /// Gives `file` these pairs of metadata.
    ///
    /// # Errors
    /// [`Error::Usage`] or [`Error::Limit`] for pairs that no reader would take.
    pub fn new(file: &GgufFile, pairs: &[(String, Value)]) -> Result<Self> {
        let kept: Vec<_> = pairs.iter().filter(|(key, _)| key != PADDING_KEY).cloned().collect();
        check_metadata(&kept)?;
        let bytes = file.mapped_file().bytes();
        let (descriptions, alignment) = (file.descriptions.clone(), file.alignment());
        let data_start = descriptions.end.next_multiple_of(alignment);
        let with = |pairs: &[(String, Value)]| {
            let mut header = MAGIC.to_vec();
            header.extend_from_slice(&file.version().to_le_bytes());
            header.extend_from_slice(&(file.tensors().len() as u64).to_le_bytes());
            header.extend_from_slice(&(pairs.len() as u64).to_le_bytes());
            header.extend_from_slice(&encode_pairs(pairs));
            header.extend_from_slice(&bytes[descriptions.clone()]);
            header
        };
        let mut header = with(&kept);
        if header.len().next_multiple_of(alignment) < data_start {
            let padding = |n: usize| [(PADDING_KEY.to_owned(), Value::String(" ".repeat(n)))];
            let least = header.len() + encode_pairs(&padding(0)).len();
            if let Some(n) = data_start.checked_sub(least) {
                header = with(&[&kept[..], &padding(n)].concat());
            }
        }
        header.resize(header.len().next_multiple_of(alignment), 0);
        let data_len = bytes.len().checked_sub(data_start).map(|n| n as u64);
        Ok(Self { path: file.path().to_owned(), header, data_start, data_len })
    }

    /// The file with the new header and with zeros for its tensors, to see how it would be read.
    ///
    /// # Errors
    /// [`Error::Io`] if there cannot be such a file among the temporary ones, where it takes the place of its header
    /// alone; else as [`GgufFile::open`].
    pub fn preview(&self) -> Result<GgufFile> {
        let make = || {
            let mut file = NamedTempFile::new()?;
            file.write_all(&self.header)?;
            file.as_file().set_len(self.header.len() as u64 + self.data_len.unwrap_or(0))?;
            Ok(file)
        };
        let file = make().map_err(|e| Error::io(std::env::temp_dir(), "cannot write to", e))?;
        GgufFile::open(file.path())
    }

    /// Whether the header takes the place of the old one.
    pub fn is_in_place(&self) -> bool {
        self.data_len.is_some()
            && self.header.len() == self.data_start
            && journal::has_room_for(self.header.len())
    }

    /// Changes the file itself.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses; the file is then what it was, or [`recover`] makes it so.
    pub fn apply(self) -> Result<Edited> {
        // What takes a file's place goes where a link to it leads.
        let target = file_of(&self.path)?;
        if !self.is_in_place() {
            return self.write_to(&target, Target::Itself).map(|()| Edited::Rewritten);
        }
        let mut old = vec![0; self.data_start];
        let read = File::open(&self.path).and_then(|mut file| file.read_exact(&mut old));
        read.map_err(|e| Error::io(&self.path, "cannot read", e))?;
        let differs = |(a, b): (&u8, &u8)| a != b;
        let pairs = || old.iter().zip(&self.header);
        if let (Some(first), Some(last)) = (pairs().position(differs), pairs().rposition(differs)) {
            journal::overwrite(&target, first as u64, &self.header[first..=last])?;
        }
        Ok(Edited::InPlace)
    }

    /// Writes the file with the new header to `path` and leaves the old one.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is a file and `overwrite` is false, or no file can be there; [`Error::Io`].
    pub fn write_beside(self, path: &Path, overwrite: bool) -> Result<()> {
        let target = free_target(path, "model.gguf", overwrite)?;
        self.write_to(&target, Target::Other { overwrite })
    }

    fn write_to(self, target: &Path, what: Target) -> Result<()> {
        let cannot_read = |e| Error::io(&self.path, "cannot read", e);
        let mut source = File::open(&self.path).map_err(cannot_read)?;
        source.seek(SeekFrom::Start(self.data_start as u64)).map_err(cannot_read)?;
        let new = NewFile::create(target.to_owned())?;
        let mut file = new.file();
        let mut write = || {
            if matches!(what, Target::Itself) {
                // Who may read the file stays the same.
                file.set_permissions(source.metadata()?.permissions())?;
            }
            file.write_all(&self.header)?;
            io::copy(&mut source, &mut file)
        };
        write()
            .and_then(|_| new.finish(!matches!(what, Target::Other { overwrite: false })))
            .map_err(|e| Error::io(target, "cannot write", e))?;
        Ok(())
    }
}

/// Where a changed file goes.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// To the place of the old one.
    Itself,
    /// To another place; over a file that is there only if asked.
    Other { overwrite: bool },
}
