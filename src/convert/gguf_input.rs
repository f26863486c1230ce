//! A model to convert that is a GGUF file already, or the parts of a split one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::gguf::{GgufFile, MAGIC, Metadata, TensorInfo};
use crate::limits;
use crate::new_file::check_not_an_input;
use crate::read_file::ReadFile;

/// The metadata keys of a part of a split file.
pub(super) const SPLIT_KEYS: [&str; 3] = [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS];
const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";

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
    /// [`Error::Io`], [`Error::Malformed`], [`Error::Unsupported`] or [`Error::Limit`], as the files deserve.
    pub fn open(path: &Path) -> Result<Self> {
        let asked = Part::open(path)?;
        let Some(n_parts) = asked.header.metadata().count(SPLIT_COUNT)?.filter(|&n| n > 1) else {
            return Ok(Self { parts: vec![asked] });
        };
        if n_parts > limits::MAX_SHARDS {
            let what = format!("{}: {n_parts} parts; the limit is {}", path.display(), limits::MAX_SHARDS);
            return Err(Error::limit(what));
        }
        let Some(stem) = split_stem(path, n_parts) else {
            return Err(Error::malformed(
                path,
                format!(
                    "it is one of {n_parts} parts, and not named as such; it should end in -00001-of-{n_parts:05}.gguf \
                     or another number, with the other parts beside it"
                ),
            ));
        };
        let parts =
            (0..n_parts).map(|i| Part::open_numbered(&part_path(path, &stem, i, n_parts), i, n_parts));
        let input = Self { parts: parts.collect::<Result<_>>()? };
        let (found, first) = (input.tensors().count(), &input.parts[0].header);
        match first.metadata().count(SPLIT_TENSORS)?.filter(|&n| n != found) {
            None => Ok(input),
            Some(n) => Err(Error::malformed(
                first.path(),
                format!("it promises {n} tensors, and its parts have {found}"),
            )),
        }
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
        let stem = if n_parts > 1 { split_stem(self.path(), n_parts) } else { None };
        stem.unwrap_or_else(|| self.path().file_stem().unwrap_or_default().to_string_lossy().into_owned())
    }
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { header: GgufFile::open(path)?, bytes: ReadFile::open(path)? })
    }

    /// Opens part `index` of `n_parts`.
    fn open_numbered(path: &Path, index: usize, n_parts: usize) -> Result<Self> {
        let part = Self::open(path)?;
        let metadata = part.header.metadata();
        let found = (metadata.count(SPLIT_NO)?, metadata.count(SPLIT_COUNT)?);
        if found == (Some(index), Some(n_parts)) {
            return Ok(part);
        }
        let shown = |n: Option<usize>| n.map_or("none".into(), |n| n.to_string());
        let (no, count) = (shown(found.0), shown(found.1));
        let what = format!(
            "its name makes it part {index} (from 0) of {n_parts}, but its split.no is {no} and its split.count \
             {count}; bring the parts of one download together"
        );
        Err(Error::malformed(path, what))
    }
}

/// Whether the file at `path` begins as GGUF files do.
fn begins_as_gguf(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head));
    read.is_ok() && head == MAGIC
}

/// The name of a part of `n_parts` without its number and ending; `None` if it is not named as one.
fn split_stem(path: &Path, n_parts: usize) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let stem = name.strip_suffix(&format!("-of-{n_parts:05}.gguf"))?;
    let (stem, number) = stem.rsplit_once('-')?;
    (number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit())).then(|| stem.to_owned())
}

fn part_path(beside: &Path, stem: &str, index: usize, n_parts: usize) -> PathBuf {
    beside.with_file_name(format!("{stem}-{:05}-of-{n_parts:05}.gguf", index + 1))
}
