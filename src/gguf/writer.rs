//! Writes files that are whole or not there: a temporary file beside the target takes its name only
//! when every byte is on disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::{Builder, NamedTempFile};

use super::layout::{Layout, PlacedTensor};
use crate::error::{Error, Result};

/// A file being written. Dropping it unfinished removes what was written so far.
#[derive(Debug)]
pub struct GgufWriter {
    target: PathBuf,
    overwrite: bool,
    layout: Layout,
    partial: NamedTempFile,
    /// Bytes written of each tensor.
    written: Vec<AtomicU64>,
    pages: Mutex<HugePages>,
}

impl GgufWriter {
    /// Whether [`Self::create`] would take `path`, as far as can be told without touching the disk.
    ///
    /// # Errors
    /// [`Error::Usage`] as there.
    pub fn check(path: &Path, overwrite: bool) -> Result<()> {
        check_target(path, overwrite).map(|_| ())
    }

    /// Reserves the space of the whole file under a temporary name and writes its header.
    ///
    /// # Errors
    /// [`Error::Usage`] if `path` exists and `overwrite` is false, is a directory or a device, or has
    /// no parent folder; [`Error::Limit`] if the disk has too little room; [`Error::Io`] for the rest.
    pub fn create(path: &Path, layout: Layout, overwrite: bool) -> Result<Self> {
        let target = check_target(path, overwrite)?;
        let partial = create_partial(&target)?;
        reserve(partial.as_file(), layout.file_bytes()).map_err(|e| refused(path, &layout, e))?;
        let mut pages = HugePages::of(layout.file_bytes());
        let header = layout.header();
        pages
            .begin(partial.as_file(), 0, header.len() as u64)
            .and_then(|()| write_all_at(partial.as_file(), header, 0))
            .map_err(|e| refused(path, &layout, e))?;
        let written = layout.tensors().iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { target, overwrite, layout, partial, written, pages: Mutex::new(pages) })
    }

    /// The plan it follows.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the file is until [`Self::finish`] gives it its name: to read back what was written.
    pub fn partial_path(&self) -> &Path {
        self.partial.path()
    }

    /// Writes part of a tensor's data; any number of threads may do so at once.
    ///
    /// Each byte is to be written once: [`Self::finish`] counts.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Limit`] if the system refuses.
    ///
    /// # Panics
    /// If the layout has no such tensor or the bytes reach past its end.
    pub fn write_at(&self, tensor_index: usize, byte_offset_in_tensor: u64, bytes: &[u8]) -> Result<()> {
        let tensor = &self.layout.tensors()[tensor_index];
        let n_bytes = bytes.len() as u64;
        let end = byte_offset_in_tensor.checked_add(n_bytes);
        assert!(end.is_some_and(|end| end <= tensor.n_bytes), "writing past the end of {}", tensor.name);
        let (file, offset) = (self.partial.as_file(), tensor.offset + byte_offset_in_tensor);
        let begun = {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            pages.begin(file, offset, n_bytes)
        };
        begun
            .and_then(|()| write_all_at(file, bytes, offset))
            .map_err(|e| refused(&self.target, &self.layout, e))?;
        self.written[tensor_index].fetch_add(n_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Brings everything to disk and gives the file its name, which is returned.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a tensor was not written whole, [`Error::Usage`] if another file took
    /// the name meanwhile, [`Error::Io`] if the system refuses. The target is then as it was.
    pub fn finish(self) -> Result<PathBuf> {
        let Self { target, overwrite, layout, partial, written, .. } = self;
        for (tensor, written) in layout.tensors().iter().zip(written) {
            check_whole(&target, tensor, written.into_inner())?;
        }
        partial.as_file().sync_all().map_err(|e| refused(&target, &layout, e))?;
        let renamed = if overwrite { partial.persist(&target) } else { partial.persist_noclobber(&target) };
        renamed.map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => already_exists(&target),
            _ => Error::io(&target, "cannot rename the finished file to", e.error),
        })?;
        sync_parent(&target)?;
        Ok(target)
    }
}

/// Sees to it that the system caches the file in huge pages, which whoever maps it next profits from:
/// generating tokens from a mapped file is a fifth faster with them (`tools/peer/speed.py` on a file
/// written with and without). Linux chooses the size of a cached page by the first write to it, so a
/// huge page is written with zeros, whole, before what belongs into it.
#[derive(Debug)]
struct HugePages {
    file_bytes: u64,
    zeros: Vec<u8>,
    /// For each huge page, whether it has been written.
    begun: Vec<bool>,
}

impl HugePages {
    /// Bytes of a huge page.
    const BYTES: u64 = 2 << 20;

    fn of(file_bytes: u64) -> Self {
        let n_pages = if cfg!(target_os = "linux") { file_bytes.div_ceil(Self::BYTES) } else { 0 };
        let zeros = vec![0; file_bytes.min(Self::BYTES) as usize];
        Self { file_bytes, zeros, begun: vec![false; n_pages as usize] }
    }

    /// Writes zeros to the huge pages of a range that nothing was written to yet.
    fn begin(&mut self, file: &File, offset: u64, n_bytes: u64) -> io::Result<()> {
        for page in offset / Self::BYTES..(offset + n_bytes).div_ceil(Self::BYTES) {
            if let Some(begun @ false) = self.begun.get_mut(page as usize) {
                let start = page * Self::BYTES;
                let n_bytes = Self::BYTES.min(self.file_bytes - start);
                write_all_at(file, &self.zeros[..n_bytes as usize], start)?;
                *begun = true;
            }
        }
        Ok(())
    }
}

fn check_whole(target: &Path, tensor: &PlacedTensor, written: u64) -> Result<()> {
    if written == tensor.n_bytes {
        return Ok(());
    }
    let what = format!(
        "{written} bytes of tensor {} were written where it has {}; the file is given up",
        tensor.name, tensor.n_bytes
    );
    Err(Error::malformed(target, what))
}

/// The path to rename to: `path`, or what it links to.
fn check_target(path: &Path, overwrite: bool) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Error::usage(format!(
            "{} is a directory; name the file to write in it, as in {}",
            path.display(),
            path.join("model.gguf").display()
        ))),
        Ok(found) if !found.is_file() => {
            Err(Error::usage(format!("{} is a pipe or a device; a GGUF file needs a disk", path.display())))
        }
        Ok(_) if !overwrite => Err(already_exists(path)),
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

fn already_exists(path: &Path) -> Error {
    Error::usage(format!("{} exists; use --force to replace it, or -o for another name", path.display()))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file beside `target`, so that renaming never copies, with the permissions of any new file.
fn create_partial(target: &Path) -> Result<NamedTempFile> {
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
    let parent = parent_of(target);
    builder.tempfile_in(parent).map_err(|e| Error::io(parent, "cannot create a file in", e))
}

/// Gives the file its length, and its blocks where the file system can: a full disk is then known
/// now rather than after an hour.
fn reserve(file: &File, n_bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    loop {
        use rustix::io::Errno;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, n_bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(e) => return Err(e.into()),
        }
    }
    file.set_len(n_bytes)
}

/// The error for a write the system refused; a disk that is full is told apart.
fn refused(path: &Path, layout: &Layout, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::limit(format!(
                "{}: {} bytes are needed and the disk has no room for them ({e}). Make room, choose a smaller \
                 --type, or write elsewhere with -o; nothing was left behind",
                path.display(),
                layout.file_bytes()
            ))
        }
        _ => Error::io(path, "cannot write", e),
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Makes the new name itself last through a power cut.
#[cfg(unix)]
fn sync_parent(target: &Path) -> Result<()> {
    let parent = parent_of(target);
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|e| Error::io(parent, "cannot sync", e))
}

/// Elsewhere a folder cannot be opened to sync it; the rename is left to the file system.
#[cfg(not(unix))]
fn sync_parent(_target: &Path) -> Result<()> {
    Ok(())
}
