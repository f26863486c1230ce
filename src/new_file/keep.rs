//! What becomes of a finished file whose name is refused.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Partial, names};
use crate::paths::folder_of;
use crate::regular_file;

/// Bytes compared at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Keeps a finished file that could not become `target` for the reason `e`, and says under which name. A
/// target that another program made meanwhile with the same content makes up for it.
pub(super) fn keep(partial: Partial, target: &Path, e: &io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::AlreadyExists && same_content(partial.file(), target).unwrap_or(false) {
        return io::Error::new(e.kind(), format!("{e}, with the same content"));
    }
    let what = match under_another_name(partial, target) {
        Ok(kept) => format!("{e}; the finished file is kept as {}", kept.display()),
        Err(refused) => format!("{e}; the finished file could not be kept either: {refused}"),
    };
    io::Error::new(e.kind(), what)
}

/// Gives the file a name beside the target, or in the nearest folder above that takes it: the target's own
/// may be gone.
fn under_another_name(partial: Partial, target: &Path) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder_of(target))?;
    let mut refused = None;
    for folder in folder.ancestors() {
        let kept = names::kept(target, folder, |path| match &partial {
            #[cfg(target_os = "linux")]
            Partial::Unnamed(file) => super::unnamed::link(file, path),
            Partial::Hidden(file) => fs::rename(file.path(), path),
        });
        match kept {
            Ok(path) => {
                let _ = super::sync_parent(&path);
                return Ok(path);
            }
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    match partial {
        #[cfg(target_os = "linux")]
        Partial::Unnamed(_) => Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        Partial::Hidden(file) => {
            let (_, path) = file.keep().map_err(|e| e.error)?;
            if path.exists() { Ok(path) } else { Err(io::ErrorKind::NotFound.into()) }
        }
    }
}

fn same_content(ours: &File, target: &Path) -> io::Result<bool> {
    let Ok(other) = regular_file::open(target) else { return Ok(false) };
    if ours.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let mut ours = ours.try_clone()?;
    io::Seek::rewind(&mut ours)?;
    let (mut ours, mut other) = (BufReader::new(ours), BufReader::new(other));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        (&mut ours).take(CHUNK_BYTES as u64).read_to_end(&mut a)?;
        (&mut other).take(CHUNK_BYTES as u64).read_to_end(&mut b)?;
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            return Ok(true);
        }
    }
}
