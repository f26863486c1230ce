//! The folder of one repository in the cache, laid out as huggingface_hub does.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::Wanted;
use super::choice::Choice;
use super::listing::RemoteFile;
use super::name::HubName;
use crate::error::{Error, Result};
use crate::new_file::NewFile;
use crate::paths::stays_inside;
use crate::regular_file;

/// Bytes of a file that names a commit at most.
const MAX_REF_BYTES: u64 = 256;

/// Folders in folders that are looked into for what is there.
const MOST_LEVELS: usize = 4;

/// The folder of a repository.
pub(super) struct Repository {
    dir: PathBuf,
    locks: PathBuf,
}

impl Repository {
    pub(super) fn new(cache: &Path, name: &HubName) -> Self {
        let folder = format!("models--{}", name.repository().replace('/', "--"));
        Self { dir: cache.join(&folder), locks: cache.join(".locks").join(&folder) }
    }

    /// The folder with the files of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    /// The folder of all content, which is made.
    pub(super) fn blobs(&self) -> Result<PathBuf> {
        let path = self.dir.join("blobs");
        make_folder(&path)?;
        Ok(path)
    }

    /// Where the content of a file lies.
    pub(super) fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.dir.join("blobs").join(file.hash.text())
    }

    /// Where what came of it so far lies.
    pub(super) fn partial(&self, file: &RemoteFile) -> PathBuf {
        self.dir.join("blobs").join(format!("{}.incomplete", file.hash.text()))
    }

    /// The file that one who downloads `file` holds a lock of.
    pub(super) fn lock_file(&self, file: &RemoteFile) -> Result<File> {
        make_folder(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", file.hash.text()));
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::io(path, "cannot write", e))
    }

    /// Puts the content of `file`, which is there, into the snapshot of a commit.
    pub(super) fn show(&self, commit: &str, file: &RemoteFile) -> Result<()> {
        let (path, blob) = (self.snapshot(commit).join(&file.name), self.blob(file));
        if fs::metadata(&path).is_ok_and(|found| found.len() == file.n_bytes) {
            return Ok(());
        }
        make_folder(path.parent().expect("below the snapshot"))?;
        let linked = match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => link(&self.relative(commit, file), &blob, &path),
        };
        linked.map_err(|e| Error::io(path, "cannot write", e))
    }

    /// The path from a file of a snapshot to its content.
    fn relative(&self, commit: &str, file: &RemoteFile) -> PathBuf {
        let n_up = Path::new("snapshots").join(commit).join(&file.name).components().count() - 1;
        let up: PathBuf = (0..n_up).map(|_| Component::ParentDir).collect();
        up.join("blobs").join(file.hash.text())
    }

    /// Notes which commit a revision is.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.dir.join("refs").join(revision);
        if fs::read(&path).is_ok_and(|known| known == commit.as_bytes()) {
            return Ok(());
        }
        make_folder(path.parent().expect("below refs"))?;
        NewFile::write(path.clone(), &path, commit.as_bytes(), true)
    }

    /// What an earlier download left of `name`, if it is complete.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read.
    pub(super) fn what_is_there(&self, name: &HubName, wanted: Wanted) -> Result<Option<PathBuf>> {
        let known = self.dir.join("refs").join(name.revision());
        let commit = match known.is_file() {
            true => String::from_utf8_lossy(&regular_file::read(&known, MAX_REF_BYTES)?).trim().to_owned(),
            false => name.revision().to_owned(),
        };
        let snapshot = self.snapshot(&commit);
        if !stays_inside(&commit) || !snapshot.is_dir() {
            return Ok(None);
        }
        let mut names = Vec::new();
        collect(&snapshot, "", MOST_LEVELS, &mut names)
            .map_err(|e| Error::io(&snapshot, "cannot list", e))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Ok(choice) = Choice::new(name, wanted, &names) else { return Ok(None) };
        let Ok(rest) = choice.rest(&names, &snapshot) else { return Ok(None) };
        let is_there = rest.iter().all(|file| names.contains(&file.as_str()));
        Ok(is_there.then(|| choice.path_in(&snapshot)))
    }
}

/// The files below `dir` that can be opened.
fn collect(dir: &Path, prefix: &str, n_levels: usize, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_dir() && n_levels > 0 => {
                collect(&entry.path(), &format!("{prefix}{name}/"), n_levels - 1, names)?;
            }
            Ok(found) if found.is_file() => names.push(format!("{prefix}{name}")),
            // A link to what is not there.
            _ => {}
        }
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .map_err(|e| Error::io(path, "cannot use the cache folder (HF_HOME names another one)", e))
}

/// Makes `path` another name of `blob`: a link where the system has them.
fn link(relative: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(relative, path);
    #[cfg(not(unix))]
    let linked = {
        let _ = relative;
        Err(io::Error::from(io::ErrorKind::Unsupported))
    };
    linked.or_else(|_| fs::hard_link(blob, path)).or_else(|_| fs::copy(blob, path).map(drop))
}
