//! Files read at offsets, for those who read each byte about once: an error of the disk is an error here,
//! where a mapping would end the program, and a file that changes meanwhile is noticed.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::regular_file;

/// A regular file, opened to be read at offsets, by any number of threads at once.
#[derive(Debug)]
pub struct ReadFile {
    path: PathBuf,
    content: Content,
    n_bytes: u64,
}

#[derive(Debug)]
enum Content {
    File {
        file: File,
        /// When it was last changed, where the system can tell.
        modified: Option<SystemTime>,
    },
    /// Bytes that never were a file.
    Owned(Vec<u8>),
    /// A file of a server.
    Remote { file: Box<dyn RemoteRead>, is_glimpsed: bool },
}

/// A file of a server, of which parts are asked for.
pub trait RemoteRead: fmt::Debug + Send + Sync {
    /// Fills `out` with the bytes from `offset` on, which the file has.
    ///
    /// # Errors
    /// Those of whatever is in between.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}

impl ReadFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::Usage`] if it is a directory, a pipe or a device.
    pub fn open(path: &Path) -> Result<Self> {
        let file = regular_file::open(path)?;
        let metadata = file.metadata().map_err(|e| Error::io(path, "cannot read the size of", e))?;
        // A hint that makes the system read further ahead.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        let (n_bytes, modified) = (metadata.len(), metadata.modified().ok());
        Ok(Self { path: path.to_owned(), content: Content::File { file, modified }, n_bytes })
    }

    /// Takes bytes already in memory for a file's content; `path` only names them in messages.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), n_bytes: bytes.len() as u64, content: Content::Owned(bytes) }
    }

    /// A file of `n_bytes` that a server has; `path` only names it in messages. Of one that is only looked at no more
    /// is to be read than must be.
    pub fn remote(path: &Path, n_bytes: u64, is_glimpsed: bool, file: Box<dyn RemoteRead>) -> Self {
        Self { path: path.to_owned(), content: Content::Remote { file, is_glimpsed }, n_bytes }
    }

    /// Whether a server has it, and reading much of it is not worth the time.
    pub fn is_glimpsed(&self) -> bool {
        matches!(self.content, Content::Remote { is_glimpsed: true, .. })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes when it was opened.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// When it was last changed before it was opened, where the system can tell.
    pub fn modified(&self) -> Option<SystemTime> {
        match &self.content {
            Content::File { modified, .. } => *modified,
            Content::Owned(_) | Content::Remote { .. } => None,
        }
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the file ends before; [`Error::Io`] with the offset if it cannot be read.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let is_inside = offset.checked_add(out.len() as u64).is_some_and(|end| end <= self.n_bytes);
        let read = match &self.content {
            Content::File { file, .. } => read_exact_at(file, out, offset),
            Content::Remote { file, .. } if is_inside => return file.read_at(offset, out),
            Content::Remote { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
            Content::Owned(bytes) => {
                let start = usize::try_from(offset).ok();
                match start.and_then(|start| bytes.get(start..)?.get(..out.len())) {
                    Some(found) => {
                        out.copy_from_slice(found);
                        Ok(())
                    }
                    None => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        };
        read.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::malformed(
                &self.path,
                format!(
                    "it ends before byte {}, and had {} bytes when it was opened: it was cut short meanwhile. Get it \
                     again, and run again",
                    offset.saturating_add(out.len() as u64),
                    self.n_bytes
                ),
            ),
            _ => {
                let with_place = format!("{e} (from byte {offset} on); the disk may be failing");
                Error::io(&self.path, "cannot read", io::Error::new(e.kind(), with_place))
            }
        })
    }

    /// Checks that the file has not changed since it was opened.
    ///
    /// # Errors
    /// [`Error::Malformed`] if somebody did; [`Error::Io`] if that cannot be found out.
    pub fn check_unchanged(&self) -> Result<()> {
        let Content::File { file, modified } = &self.content else { return Ok(()) };
        let now = file.metadata().map_err(|e| Error::io(&self.path, "cannot look at", e))?;
        if now.len() == self.n_bytes && now.modified().ok() == *modified {
            return Ok(());
        }
        let what = "it was written to while it was read; wait until it is complete, and run again";
        Err(Error::malformed(&self.path, what))
    }
}

/// Fills `out` with the bytes of `file` from `offset` on.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// Fills `out` with the bytes of `file` from `offset` on.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !out.is_empty() {
        match file.seek_read(out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn bytes_come_from_where_they_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"0123456789").unwrap();
        for file in [ReadFile::open(&path).unwrap(), ReadFile::from_bytes(&path, b"0123456789".to_vec())] {
            let mut out = [0; 3];
            file.read_at(4, &mut out).unwrap();
            assert_eq!(&out, b"456");
            assert!(file.read_at(8, &mut out).is_err() && file.read_at(u64::MAX, &mut out).is_err());
            file.check_unchanged().unwrap();
        }
    }

    #[test]
    fn a_file_cut_short_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, [7; 100]).unwrap();
        let file = ReadFile::open(&path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(50).unwrap();
        let message = file.read_at(40, &mut [0; 20]).unwrap_err().to_string();
        assert!(message.contains("before byte 60") && message.contains("had 100 bytes"), "{message}");
        assert!(file.check_unchanged().is_err());
    }

    #[test]
    fn a_file_written_to_is_noticed_and_one_replaced_by_renaming_is_not_affected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, [7; 100]).unwrap();
        let file = ReadFile::open(&path).unwrap();
        fs::write(dir.path().join("other"), [8; 100]).unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        file.check_unchanged().unwrap();
        let file = ReadFile::open(&path).unwrap();
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(&[9]).unwrap();
        writer.set_modified(SystemTime::now()).unwrap();
        let message = file.check_unchanged().unwrap_err().to_string();
        assert!(message.contains("run again"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_refused() {
        assert!(matches!(ReadFile::open(Path::new("/dev/zero")), Err(Error::Usage { .. })));
    }
}
