//! Files under names by which the next run of the same work finds them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::names;
use crate::error::{Error, Result};

/// Opens the file at `path`, or makes it, and locks it. `None` if another program has it, or there are no locks.
pub(super) fn open_locked(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => return Ok(Some(file)),
            // Between opening and lock it was taken for a left-over, or finished.
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Whether `path` still names `file`.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |found: &fs::Metadata| (found.dev(), found.ino());
        matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if id(&a) == id(&b))
    }
    // Where files in use cannot be removed.
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Records of equal length about an unfinished file, one behind the other, each with a checksum. It outlives its
/// program until [`Journal::remove`].
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal of the work called `key` on `target`, with the records of `n_bytes` that are sound. `None` as
    /// [`NewFile::resume`](super::NewFile::resume) has it.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// If `key` is not of 24 hexadecimal digits.
    pub fn open(target: &Path, key: &str, n_bytes: usize) -> Result<Option<(Self, Vec<Vec<u8>>)>> {
        let [_, path] = names::resumable(target, key);
        let cannot = |e| Error::io(&path, "cannot write", e);
        let Some(mut file) = open_locked(&path).map_err(cannot)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot)?;
        // A record that a kill cut short is followed by none.
        let whole = bytes.chunks_exact(n_bytes + 4).map_while(|record| {
            let (content, crc) = record.split_last_chunk()?;
            (crc32fast::hash(content).to_le_bytes() == *crc).then(|| content.to_vec())
        });
        let records: Vec<Vec<u8>> = whole.collect();
        let end = (records.len() * (n_bytes + 4)) as u64;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(cannot)?;
        Ok(Some((Self { file, path }, records)))
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, content: &[u8]) -> Result<()> {
        let record = [content, &crc32fast::hash(content).to_le_bytes()].concat();
        self.file.write_all(&record).map_err(|e| Error::io(&self.path, "cannot write", e))
    }

    /// Removes it: what it is about is finished, or given up.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_file::{NewFile, remove_left_overs};

    const KEY: &str = "0123456789abcdef01234567";
    const OTHER: &str = "f123456789abcdef01234567";

    #[test]
    fn a_left_file_is_found_by_the_same_work_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("m.gguf");
        let resume = |key| NewFile::resume(target.clone(), key).expect("a writable folder");
        let new = resume(KEY).expect("free");
        new.file().write_all(b"half").expect("written");
        assert!(resume(KEY).is_none(), "one at a time");
        remove_left_overs(&target);
        new.leave();
        let new = resume(KEY).expect("free again");
        let mut content = String::new();
        new.file().read_to_string(&mut content).expect("readable");
        assert_eq!(content, "half");
        new.leave();
        let other = resume(OTHER).expect("free");
        assert_eq!(other.file().metadata().expect("there").len(), 0);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "that of the other work is gone");
        other.finish(false).expect("finished");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
        assert!(target.exists());
    }

    #[test]
    fn a_journal_keeps_what_was_written_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("m.gguf");
        let open = || Journal::open(&target, KEY, 3).expect("writable").expect("free");
        let (mut journal, records) = open();
        assert!(records.is_empty());
        journal.add(b"abc").expect("written");
        journal.add(b"def").expect("written");
        journal.file.write_all(b"gh").expect("written");
        drop(journal);
        let (mut journal, records) = open();
        assert_eq!(records, [b"abc", b"def"]);
        journal.add(b"ghi").expect("written");
        drop(journal);
        assert_eq!(open().1.len(), 3);
        open().0.remove();
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}
