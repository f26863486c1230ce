//! Bytes of a file that are about to be overwritten in place, kept beside it until the new ones are on disk.
//!
//! A journal is whole or not there ([`NewFile`]), and is on disk before the first byte changes. So one that is
//! found belongs to a change that a crash cut short: putting its bytes back makes the file what it was before. The file is
//! locked meanwhile: the journal of a change under way is not taken for one that was left behind.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::limits;
use crate::new_file::{NewFile, sync_parent};
use crate::regular_file;

/// How the name of a journal ends, behind that of its file.
const SUFFIX: &str = ".edit-journal";

/// Its first bytes.
const MAGIC: [u8; 8] = *b"GGUFEDIT";

/// Magic, length of the file, offset of the bytes; a CRC-32 is at the end.
const HEAD_BYTES: usize = 8 + 8 + 8;

/// Whether so many bytes may be kept: [`restore`] reads no more.
pub(super) fn has_room_for(n_bytes: usize) -> bool {
    (HEAD_BYTES + n_bytes + size_of::<u32>()) as u64 <= limits::MAX_JOURNAL_BYTES
}

fn path_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(SUFFIX);
    name.into()
}

/// Replaces the bytes of `file` from `offset` on by `new`, so that a crash at any moment leaves the file as it
/// was or a journal from which [`restore`] makes it so. The file keeps its length.
///
/// # Errors
/// [`Error::Usage`] if another program changes it; [`Error::Io`] if the system refuses.
pub(super) fn overwrite(file: &Path, offset: u64, new: &[u8]) -> Result<()> {
    let cannot_write = |e| Error::io(file, "cannot write", e);
    let mut opened = open_locked(file)?;
    let n_file = opened.metadata().map_err(cannot_write)?.len();
    let mut old = vec![0; new.len()];
    opened.seek(SeekFrom::Start(offset)).map_err(cannot_write)?;
    opened.read_exact(&mut old).map_err(cannot_write)?;
    let mut journal = Vec::with_capacity(HEAD_BYTES + old.len() + 4);
    journal.extend_from_slice(&MAGIC);
    journal.extend_from_slice(&n_file.to_le_bytes());
    journal.extend_from_slice(&offset.to_le_bytes());
    journal.extend_from_slice(&old);
    journal.extend_from_slice(&crc32fast::hash(&journal).to_le_bytes());
    let path = path_of(file);
    let made = NewFile::create(path.clone())?;
    let written = made.file().write_all(&journal).and_then(|()| made.finish(true).map(drop));
    written.map_err(|e| Error::io(&path, "cannot write", e))?;
    put(&mut opened, offset, new).map_err(cannot_write)?;
    remove(&path)
}

/// Opens `file` to be changed by this program alone, until it is closed.
fn open_locked(file: &Path) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open(file);
    let opened = opened.map_err(|e| Error::io(file, "cannot write", e))?;
    match opened.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::usage(format!("another program is editing {}; wait for its end", file.display())))
        }
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(opened),
    }
}

/// Removes a journal, for good: one that came back after a crash would take a change back that was done.
fn remove(journal: &Path) -> Result<()> {
    let removed = fs::remove_file(journal).and_then(|()| sync_parent(journal));
    removed.map_err(|e| Error::io(journal, "cannot remove", e))
}

/// Whether a crash left something half changed in `file`.
pub(super) fn exists(file: &Path) -> bool {
    path_of(file).exists()
}

/// Puts back what a crash left half changed. Returns whether there was anything.
///
/// # Errors
/// [`Error::Malformed`] for a journal that is not one, or not of this file; [`Error::Usage`] if another program changes
/// the file; [`Error::Io`].
pub(super) fn restore(file: &Path) -> Result<bool> {
    let path = path_of(file);
    if !path.exists() {
        return Ok(false);
    }
    let mut opened = open_locked(file)?;
    // Its program may have come to its end since.
    if !path.exists() {
        return Ok(false);
    }
    let journal = regular_file::read(&path, limits::MAX_JOURNAL_BYTES)?;
    let malformed = |what: &str| {
        let what = format!("{what}; if {} is sound, remove the journal", file.display());
        Error::malformed(&path, what)
    };
    let (content, crc) = journal.split_last_chunk().ok_or_else(|| malformed("it is too short"))?;
    if !content.starts_with(&MAGIC)
        || content.len() < HEAD_BYTES
        || crc32fast::hash(content).to_le_bytes() != *crc
    {
        return Err(malformed("it is not a journal of an edit"));
    }
    let number = |at: usize| u64::from_le_bytes(content[at..at + 8].try_into().expect("eight bytes"));
    let (n_file, offset, old) = (number(8), number(16), &content[HEAD_BYTES..]);
    let cannot_write = |e| Error::io(file, "cannot write", e);
    let found = opened.metadata().map_err(cannot_write)?.len();
    if found != n_file || offset.checked_add(old.len() as u64).is_none_or(|end| end > n_file) {
        return Err(malformed("it belongs to a file of another length"));
    }
    put(&mut opened, offset, old).map_err(cannot_write)?;
    remove(&path)?;
    Ok(true)
}

fn put(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_was_cut_short_is_taken_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("m.gguf");
        fs::write(&path, b"0123456789").expect("written");
        overwrite(&path, 3, b"abc").expect("written");
        assert_eq!(fs::read(&path).expect("a file"), b"012abc6789");
        assert!(!restore(&path).expect("no journal"));
        // The journal of the same change, left behind with half of it done.
        let mut journal = MAGIC.to_vec();
        journal.extend_from_slice(&10_u64.to_le_bytes());
        journal.extend_from_slice(&3_u64.to_le_bytes());
        journal.extend_from_slice(b"345");
        journal.extend_from_slice(&crc32fast::hash(&journal).to_le_bytes());
        fs::write(path_of(&path), &journal).expect("written");
        fs::write(&path, b"012ab56789").expect("written");
        assert!(restore(&path).expect("restored"));
        assert_eq!(fs::read(&path).expect("a file"), b"0123456789");
        assert!(!path_of(&path).exists());
    }

    #[test]
    fn a_change_under_way_is_neither_taken_back_nor_mixed_with_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("m.gguf");
        fs::write(&path, b"0123456789").expect("written");
        fs::write(path_of(&path), b"of the other program").expect("written");
        let other = open_locked(&path).expect("alone");
        for refused in [restore(&path).map(drop), overwrite(&path, 3, b"abc")] {
            let message = refused.expect_err("locked").to_string();
            assert!(
                message.contains("another program is editing") && message.contains("m.gguf"),
                "{message}"
            );
        }
        assert_eq!(fs::read(path_of(&path)).expect("there"), b"of the other program");
        drop(other);
        fs::remove_file(path_of(&path)).expect("removed");
        overwrite(&path, 3, b"abc").expect("written");
    }

    #[test]
    fn a_journal_of_another_file_is_refused_and_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("m.gguf");
        fs::write(&path, b"0123456789").expect("written");
        fs::write(path_of(&path), b"GGUFEDIT and nothing that fits").expect("written");
        let message = restore(&path).expect_err("not a journal").to_string();
        assert!(message.contains("edit-journal") && message.contains("remove the journal"), "{message}");
        assert!(path_of(&path).exists());
        assert_eq!(fs::read(&path).expect("a file"), b"0123456789");
    }
}
