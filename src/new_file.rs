//! Files that are whole or not there: a temporary file beside the target takes its name only when every
//! byte is on disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

/// A file being written. Dropping it unfinished removes what was written so far.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    partial: NamedTempFile,
}

impl NewFile {
    /// Creates a temporary file beside `target`, so that renaming never copies, with the permissions of
    /// any new file.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder if it cannot be written to.
    pub fn create(target: PathBuf) -> Result<Self> {
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(target.file_name().unwrap_or_default());
        prefix.push(".");
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Less what the umask takes away.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let parent = parent_of(&target);
        let partial =
            builder.tempfile_in(parent).map_err(|e| Error::io(parent, "cannot create a file in", e))?;
        Ok(Self { target, partial })
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.partial.as_file()
    }

    /// The name it has until it is finished.
    pub fn partial_path(&self) -> &Path {
        self.partial.path()
    }

    /// The name it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Brings everything to disk and gives the file its name, in place of another file only if
    /// `overwrite` is true.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AlreadyExists`] for a name that is taken. The target is
    /// then as it was.
    pub fn finish(self, overwrite: bool) -> io::Result<PathBuf> {
        let Self { target, partial } = self;
        partial.as_file().sync_all()?;
        let renamed = if overwrite { partial.persist(&target) } else { partial.persist_noclobber(&target) };
        renamed.map_err(|e| e.error)?;
        sync_parent(&target)?;
        Ok(target)
    }
}

/// The path that a file written to `path` takes: `path`, or what it links to. `example` is a file name
/// of the kind, for messages.
///
/// # Errors
/// [`Error::Usage`] if `path` is a directory or a device, or has no parent folder; [`Error::Io`] if it
/// cannot be looked for.
pub fn target_of(path: &Path, example: &str) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Error::usage(format!(
            "{} is a directory; name the file to write in it, as in {}",
            path.display(),
            path.join(example).display()
        ))),
        Ok(found) if !found.is_file() => Err(Error::usage(format!(
            "{} is a pipe or a device; what is written here needs a disk",
            path.display()
        ))),
        Ok(_) => fs::canonicalize(path).map_err(|e| Error::io(path, "cannot follow", e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = parent_of(path);
            if path.file_name().is_none() {
                Err(Error::usage(format!("\"{}\" is no file name to write to", path.display())))
            } else if parent.is_dir() {
                Ok(path.to_owned())
            } else {
                Err(Error::usage(format!(
                    "the folder {} does not exist; create it, or write elsewhere",
                    parent.display()
                )))
            }
        }
        Err(e) => Err(Error::io(path, "cannot look for", e)),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the new name itself last through a power cut.
#[cfg(unix)]
fn sync_parent(target: &Path) -> io::Result<()> {
    File::open(parent_of(target))?.sync_all()
}

/// Elsewhere a folder cannot be opened to sync it; the rename is left to the file system.
#[cfg(not(unix))]
fn sync_parent(_target: &Path) -> io::Result<()> {
    Ok(())
}
