//! Finished layers, each in a separate file beside the target: what an interrupted calibration goes on from.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::new_file::NewFile;
use crate::quantize::ErrorStats;
use crate::read_file::ReadFile;

/// What the file that names a calibration is called.
const KEY: &str = "calibration.key";

/// What calibrating a tensor won.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Won {
    /// The tensor's name.
    pub name: String,
    /// The squared change of its outputs, for inputs that were held out, with the nearest codes.
    pub plain: f64,
    /// The same with the codes that were chosen.
    pub chosen: f64,
    /// The fewest inputs that a matrix of it was calibrated with.
    pub n_tokens: usize,
}

impl Won {
    /// Whether the chosen codes were kept.
    pub fn is_kept(&self) -> bool {
        self.chosen < self.plain
    }
}

/// A tensor in a file of blocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) won: Won,
    pub(super) n_bytes: u64,
    error: (u64, f64, f64, f32),
}

/// Tensors with their blocks.
type Tensors = Vec<(Stored, Vec<u8>)>;

/// The head of a file of blocks.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    tensors: Vec<Stored>,
    crc: u32,
}

impl Stored {
    pub(super) fn new(won: Won, n_bytes: u64, error: &ErrorStats) -> Self {
        let error = (error.n, error.sum_squared_error, error.sum_squares, error.max_error);
        Self { won, n_bytes, error }
    }

    /// What its encoding lost of the weights.
    pub(super) fn error(&self) -> ErrorStats {
        let (n, sum_squared_error, sum_squares, max_error) = self.error;
        ErrorStats { n, sum_squared_error, sum_squares, max_error }
    }
}

/// The folder of a calibration.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens `folder`, which is made if it is not there, for the calibration that `key` names. Layers of another
    /// one are removed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn open(folder: &Path, key: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot create the folder", e))?;
        let store = Self { folder: folder.to_owned() };
        if std::fs::read_to_string(folder.join(KEY)).is_ok_and(|found| found == key) {
            return Ok(store);
        }
        store.remove_blocks()?;
        write(&folder.join(KEY), &[key.as_bytes()])?;
        Ok(store)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.blocks"))
    }

    /// Keeps the blocks of some tensors.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn keep(&self, name: &str, tensors: Vec<(Stored, &[u8])>) -> Result<()> {
        let mut crc = crc32fast::Hasher::new();
        tensors.iter().for_each(|(_, blocks)| crc.update(blocks));
        let (tensors, blocks): (Vec<_>, Vec<_>) = tensors.into_iter().unzip();
        let head = serde_json::to_vec(&Head { tensors, crc: crc.finalize() }).map_err(std::io::Error::from);
        let path = self.path(name);
        let head = head.map_err(|e| Error::io(&path, "cannot describe", e))?;
        let length = (head.len() as u64).to_le_bytes();
        write(&path, &[&[&length[..], &head], &blocks[..]].concat())
    }

    /// The tensors that [`Store::keep`] kept, each with its blocks; `None` if it did not, or what it wrote was
    /// damaged since.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn find(&self, name: &str) -> Result<Option<Tensors>> {
        let path = self.path(name);
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|e| Error::io(&path, "cannot read", e))?,
        };
        Ok(parse(&bytes))
    }

    /// The tensors that [`Store::keep`] kept, and where their blocks are in its file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if they are not there.
    pub(super) fn open_blocks(&self, name: &str) -> Result<(ReadFile, Vec<(Stored, u64)>)> {
        let path = self.path(name);
        let file = ReadFile::open(&path)?;
        let mut length = [0; 8];
        file.read_at(0, &mut length)?;
        let damaged = || Error::malformed(&path, "it was changed while it was read; convert again");
        let length = u64::from_le_bytes(length);
        if length > file.n_bytes() {
            return Err(damaged());
        }
        let mut head = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        file.read_at(8, &mut head)?;
        let head: Head = serde_json::from_slice(&head).map_err(|_| damaged())?;
        let mut offset = 8 + length;
        let tensors = head.tensors.into_iter().map(|stored| {
            let start = offset;
            offset = offset.saturating_add(stored.n_bytes);
            (stored, start)
        });
        Ok((file, tensors.collect()))
    }

    /// Removes what it keeps, and the folder if nothing else is in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove(&self) -> Result<()> {
        self.remove_blocks()?;
        let key = self.folder.join(KEY);
        std::fs::remove_file(&key).map_err(|e| Error::io(&key, "cannot remove", e))?;
        match std::fs::remove_dir(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::DirectoryNotEmpty => {
                Err(Error::io(&self.folder, "cannot remove", e))
            }
            _ => Ok(()),
        }
    }

    fn remove_blocks(&self) -> Result<()> {
        let listed = |e| Error::io(&self.folder, "cannot list", e);
        for entry in std::fs::read_dir(&self.folder).map_err(listed)? {
            let path = entry.map_err(listed)?.path();
            if path.extension().is_some_and(|e| e == "blocks") {
                std::fs::remove_file(&path).map_err(|e| Error::io(&path, "cannot remove", e))?;
            }
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Option<Tensors> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (head, mut rest) = rest.split_at_checked(length)?;
    let Head { tensors, crc } = serde_json::from_slice(head).ok()?;
    if crc32fast::hash(rest) != crc {
        return None;
    }
    let mut found = Vec::new();
    for stored in tensors {
        let (blocks, after) = rest.split_at_checked(usize::try_from(stored.n_bytes).ok()?)?;
        found.push((stored, blocks.to_vec()));
        rest = after;
    }
    rest.is_empty().then_some(found)
}

/// Writes a file that is whole or not there.
fn write(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let new = NewFile::create(path.to_owned())?;
    let written = parts.iter().try_for_each(|part| new.file().write_all(part));
    written.map_err(|e| Error::io(path, "cannot write", e))?;
    new.finish(true).map(drop).map_err(|e| Error::io(path, "cannot finish", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str, n_bytes: u64) -> Stored {
        let won = Won { name: name.into(), plain: 0.1 + 0.2, chosen: 0.1, n_tokens: 7 };
        Stored::new(
            won,
            n_bytes,
            &ErrorStats { n: 3, sum_squared_error: 1e-300, sum_squares: 2.0, max_error: 0.1 },
        )
    }

    #[test]
    fn what_is_kept_is_found_again_for_the_same_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("m.gguf.calibration");
        let store = Store::open(&folder, "a").unwrap();
        assert!(store.find("layer-0").unwrap().is_none());
        store.keep("layer-0", vec![(stored("x", 3), b"abc"), (stored("y", 2), b"de")]).unwrap();
        let found = Store::open(&folder, "a").unwrap().find("layer-0").unwrap().unwrap();
        assert_eq!((found[0].1.as_slice(), found[1].1.as_slice()), (&b"abc"[..], &b"de"[..]));
        assert_eq!((&found[1].0.won, found[1].0.error()), (&stored("y", 2).won, stored("y", 2).error()));
        let (file, places) = store.open_blocks("layer-0").unwrap();
        let mut bytes = [0; 2];
        file.read_at(places[1].1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"de");
        assert!(Store::open(&folder, "b").unwrap().find("layer-0").unwrap().is_none());
        store.remove().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_damaged_file_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "a").unwrap();
        store.keep("layer-0", vec![(stored("x", 3), b"abc")]).unwrap();
        let path = store.path("layer-0");
        let whole = std::fs::read(&path).unwrap();
        for n in [0, 7, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..n]).unwrap();
            assert!(store.find("layer-0").unwrap().is_none(), "{n} bytes");
        }
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert!(store.find("layer-0").unwrap().is_none());
        std::fs::write(&path, whole).unwrap();
        assert!(store.find("layer-0").unwrap().is_some());
    }
}
