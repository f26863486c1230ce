//! Files that are whole or not there: what is written gets its name only when every byte is on disk.
//!
//! Until then a file has no name at all where the system can do that (`O_TMPFILE` on Linux), so a killed
//! program leaves nothing. Elsewhere, and for the moment in which a file takes the place of another, it has
//! a hidden name beside the target (`names`) and holds a lock; the next program that writes to the same
//! target removes such files if no process holds their lock (`left_overs`).
//!
//! Long work goes on where a killed program was: its file has a name from the start, by what is being made (`resumable`).
//!
//! A finished file is never thrown away: if it cannot have its name, it gets another, and the error says
//! which (`keep`).

mod keep;
mod left_overs;
mod names;
mod resumable;
mod target;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};
use crate::paths::folder_of;
use keep::keep;
pub use left_overs::{remove_all_left_overs, remove_left_overs};
pub use resumable::Journal;
pub use target::{check_not_an_input, free_target, target_of, target_of_kind};

/// A file being written. Dropping it unfinished removes what was written so far.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    partial: Partial,
}

/// Where the bytes are until the file is finished.
#[derive(Debug)]
enum Partial {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Hidden(NamedTempFile),
}

impl NewFile {
    /// Creates a file that is to become `target`, on the same file system, with the permissions of any
    /// new file. Removes what killed programs left of earlier attempts at this target.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder if it cannot be written to.
    pub fn create(target: PathBuf) -> Result<Self> {
        remove_left_overs(&target);
        let partial = Partial::create(&target)
            .map_err(|e| Error::io(folder_of(&target), "cannot create a file in", e))?;
        Ok(Self { target, partial })
    }

    /// As [`NewFile::create`], with what an earlier run of the work called `key` left of it; that of other works on this
    /// target is removed. `None` where another program does the same work, or the system has no locks.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// If `key` is not of 24 hexadecimal digits.
    pub fn resume(target: PathBuf, key: &str) -> Result<Option<Self>> {
        let [path, _] = names::resumable(&target, key);
        let opened = resumable::open_locked(&path);
        let opened = opened.map_err(|e| Error::io(folder_of(&target), "cannot create a file in", e))?;
        remove_left_overs(&target);
        let Some(file) = opened else { return Ok(None) };
        let path = TempPath::try_from_path(&path).map_err(|e| Error::io(&path, "cannot name", e))?;
        Ok(Some(Self { target, partial: Partial::Hidden(NamedTempFile::from_parts(file, path)) }))
    }

    /// Ends without finishing and keeps what [`NewFile::resume`] goes on with. Other files are removed.
    pub fn leave(self) {
        match self.partial {
            #[cfg(target_os = "linux")]
            Partial::Unnamed(_) => {}
            // One that cannot be kept is begun again.
            Partial::Hidden(file) => drop(file.keep()),
        }
    }

    /// Writes a file of these bytes, whole or not at all; `path` is what the user calls it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(target: PathBuf, path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
        let new = Self::create(target)?;
        let written = (&mut new.file()).write_all(bytes).and_then(|()| new.finish(overwrite).map(drop));
        written.map_err(|e| Error::io(path, "cannot write", e))
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.partial.file()
    }

    /// A path to open the file by until it is finished.
    pub fn partial_path(&self) -> PathBuf {
        match &self.partial {
            #[cfg(target_os = "linux")]
            Partial::Unnamed(file) => unnamed::path_of(file),
            Partial::Hidden(file) => file.path().to_owned(),
        }
    }

    /// The name it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Brings everything to disk and gives the file its name, in place of another file only if
    /// `overwrite` is true.
    ///
    /// # Errors
    /// What the system says, with what became of the file:
    /// - if the content does not reach the disk, nothing is kept, and the target is as it was;
    /// - if only the name is refused ([`io::ErrorKind::AlreadyExists`] for one that is taken), the target
    ///   is as it was, and the finished file is kept under the name that the error tells;
    /// - if the name is given and does not reach the disk, the target is the new file.
    pub fn finish(self, overwrite: bool) -> io::Result<PathBuf> {
        let Self { target, partial } = self;
        partial.file().sync_all()?;
        partial.name(&target, overwrite).map_err(|(e, partial)| keep(partial, &target, &e))?;
        confirm(target)
    }

    /// As [`NewFile::finish`] of a file that is worth nothing if its name is taken: `None` then.
    ///
    /// # Errors
    /// As there.
    pub fn finish_unless_taken(self) -> io::Result<Option<PathBuf>> {
        let Self { target, partial } = self;
        partial.file().sync_all()?;
        match partial.name(&target, false) {
            Ok(()) => confirm(target).map(Some),
            Err((e, _)) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err((e, partial)) => Err(keep(partial, &target, &e)),
        }
    }
}

/// Makes the name of the file that is at `target` now last through a power cut.
fn confirm(target: PathBuf) -> io::Result<PathBuf> {
    match sync_parent(&target) {
        // Some file systems cannot sync a folder.
        Err(e) if !matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            let what = format!("the file is complete, but a power cut could still lose its name: {e}");
            Err(io::Error::new(e.kind(), what))
        }
        _ => Ok(target),
    }
}

impl Partial {
    fn create(target: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed::create_in(folder_of(target))? {
            return Ok(Self::Unnamed(file));
        }
        let create = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).open(path);
        names::hidden(target, create).map(Self::Hidden)
    }

    fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => file,
            Self::Hidden(file) => file.as_file(),
        }
    }

    /// Gives the file the name `target`.
    fn name(self, target: &Path, overwrite: bool) -> Result<(), (io::Error, Self)> {
        let hidden = match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) if !overwrite => {
                return unnamed::link(&file, target).map_err(|e| (e, Self::Unnamed(file)));
            }
            // A link never takes the place of a file, and a rename does: by way of a hidden name.
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => {
                // Locked before it has the name, so that no other program takes it for a left-over in between:
                // once removed, it could not be given another. Without locks none can.
                let _ = file.lock();
                let link = |path: &Path| unnamed::link(&file, path).and_then(|()| file.try_clone());
                match names::hidden(target, link) {
                    Ok(hidden) => hidden,
                    Err(e) => return Err((e, Self::Unnamed(file))),
                }
            }
            Self::Hidden(hidden) => hidden,
        };
        let named = if overwrite { hidden.persist(target) } else { hidden.persist_noclobber(target) };
        named.map(drop).map_err(|e| (e.error, Self::Hidden(e.file)))
    }
}

/// Files without a name.
#[cfg(target_os = "linux")]
mod unnamed {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
    use rustix::io::Errno;

    /// A file in `folder` without a name; `None` where the file system or the system cannot do that.
    pub(super) fn create_in(folder: &Path) -> io::Result<Option<File>> {
        // Less what the umask takes away.
        let mode = Mode::from_raw_mode(0o666);
        match openat(CWD, folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            // Without /proc there is no way to give it a name.
            Ok(file) => Ok(Some(File::from(file)).filter(|file| path_of(file).exists())),
            // EISDIR: a kernel that does not know the flag.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The path by which this process can open the file.
    pub(super) fn path_of(file: &File) -> PathBuf {
        format!("/proc/self/fd/{}", file.as_raw_fd()).into()
    }

    /// Gives the file the name `path`, which must be free.
    pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
        Ok(linkat(CWD, path_of(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}

#[cfg(unix)]
pub(crate) fn sync_parent(target: &Path) -> io::Result<()> {
    File::open(folder_of(target))?.sync_all()
}

/// Elsewhere a folder cannot be opened to sync it; the rename is left to the file system.
#[cfg(not(unix))]
pub(crate) fn sync_parent(_target: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    /// A file with the content `new` under a hidden name, as where files cannot do without one.
    fn hidden(target: &Path) -> NewFile {
        let file = names::hidden(target, |path| File::create_new(path)).unwrap();
        file.as_file().write_all(b"new").unwrap();
        NewFile { target: target.to_owned(), partial: Partial::Hidden(file) }
    }

    #[test]
    fn a_hidden_file_gets_its_name_or_is_kept_under_another() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m.gguf");
        let n_files = || fs::read_dir(dir.path()).unwrap().count();
        drop(hidden(&target));
        assert_eq!(n_files(), 0);
        hidden(&target).finish(false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(n_files(), 1);
        fs::write(&target, "old").unwrap();
        let e = hidden(&target).finish(false).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(n_files(), 2);
        let kept = e.to_string().rsplit_once(" as ").unwrap().1.to_owned();
        assert_eq!(fs::read(kept).unwrap(), b"new");
        assert_eq!(hidden(&target).finish_unless_taken().unwrap(), None);
        hidden(&target).finish(true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(n_files(), 2);
    }
}
