//! A file of which a part has come.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::super::client::Trouble;
use super::super::listing::{Hash, RemoteFile};
use crate::error::{Error, Result};

/// Bytes read at a time of what had come.
const PIECE_BYTES: usize = 1 << 20;

/// The part of `file` that is on disk, and what has been hashed of it: all.
pub(super) struct Partial<'a> {
    pub(super) file: &'a RemoteFile,
    pub(super) n_bytes: u64,
    path: PathBuf,
    disk: File,
    hasher: Hasher,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier try left at `path`, or nothing.
    pub(super) fn open(path: PathBuf, file: &'a RemoteFile) -> Result<Self> {
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let disk = options.map_err(|e| Error::io(&path, "cannot write", e))?;
        let mut partial = Self { file, n_bytes: 0, path, disk, hasher: Hasher::new(file) };
        let mut bytes = vec![0; PIECE_BYTES];
        loop {
            let n = partial.disk.read(&mut bytes).map_err(|e| partial.cannot("cannot read", e))?;
            if n == 0 {
                break;
            }
            partial.n_bytes += n as u64;
            partial.hasher.update(&bytes[..n]);
        }
        if partial.n_bytes > file.n_bytes {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Forgets what has come.
    pub(super) fn restart(&mut self) -> Result<()> {
        let emptied = self.disk.set_len(0).and_then(|()| self.disk.rewind());
        emptied.map_err(|e| self.cannot("cannot write", e))?;
        (self.n_bytes, self.hasher) = (0, Hasher::new(self.file));
        Ok(())
    }

    /// Takes the next bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        if self.n_bytes + bytes.len() as u64 > self.file.n_bytes {
            self.restart()?;
            return Err(Trouble::passing(format!(
                "more came than the {} bytes of the file",
                self.file.n_bytes
            )));
        }
        self.disk.write_all(bytes).map_err(|e| self.cannot("cannot write", e))?;
        self.n_bytes += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }

    /// The hash of what has come, as the hub writes it.
    pub(super) fn hash(&self) -> String {
        self.hasher.text()
    }

    /// Gives the file, which is complete, its name.
    pub(super) fn finish(self, blob: &Path) -> Result<()> {
        self.disk.sync_all().map_err(|e| self.cannot("cannot write", e))?;
        fs::rename(&self.path, blob).map_err(|e| Error::io(blob, "cannot write", e))
    }

    fn cannot(&self, doing: &'static str, e: io::Error) -> Error {
        Error::io(&self.path, doing, e)
    }
}

enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    fn new(file: &RemoteFile) -> Self {
        match file.hash {
            Hash::Sha256(_) => Self::Sha256(Sha256::new()),
            // As git names the content of files.
            Hash::Git(_) => Self::Git(Sha1::new().chain_update(format!("blob {}\0", file.n_bytes))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    fn text(&self) -> String {
        let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        match self {
            Self::Sha256(hasher) => digits(&hasher.clone().finalize()),
            Self::Git(hasher) => digits(&hasher.clone().finalize()),
        }
    }
}
