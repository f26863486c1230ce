//! Writes GGUF files that are whole or not there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{Layout, PlacedTensor};
use super::value::Value;
use crate::error::{Error, Result};
use crate::new_file::{NewFile, free_target};
use crate::read_file::read_exact_at;

/// A file being written. Dropping it unfinished removes what was written so far.
#[derive(Debug)]
pub struct GgufWriter {
    overwrite: bool,
    layout: Layout,
    new: NewFile,
    /// Bytes written of each tensor.
    written: Vec<AtomicU64>,
}

impl GgufWriter {
    /// Where [`Self::create`] would write a file of this path, if it would, as far as can be told without
    /// touching the disk.
    ///
    /// # Errors
    /// [`Error::Usage`] as there.
    pub fn check(path: &Path, overwrite: bool) -> Result<PathBuf> {
        free_target(path, "model.gguf", overwrite)
    }

    /// Reserves the space of the whole file under a temporary name and writes its header.
    ///
    /// # Errors
    /// [`Error::Usage`] if `path` exists and `overwrite` is false, is a directory or a device, or has
    /// no parent folder; [`Error::Limit`] if the disk has too little room; [`Error::Io`] for the rest.
    pub fn create(path: &Path, layout: Layout, overwrite: bool) -> Result<Self> {
        let new = NewFile::create(free_target(path, "model.gguf", overwrite)?)?;
        Self::begin(path, layout, overwrite, new)
    }

    /// As [`Self::create`], with the data that an earlier run of the work called `key` left; `None` as
    /// [`NewFile::resume`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As [`NewFile::resume`].
    pub fn resume(path: &Path, layout: Layout, overwrite: bool, key: &str) -> Result<Option<Self>> {
        let new = NewFile::resume(free_target(path, "model.gguf", overwrite)?, key)?;
        new.map(|new| Self::begin(path, layout, overwrite, new)).transpose()
    }

    fn begin(path: &Path, layout: Layout, overwrite: bool, new: NewFile) -> Result<Self> {
        reserve(new.file(), layout.file_bytes()).map_err(|e| refused(path, &layout, e))?;
        write_all_at(new.file(), layout.header(), 0).map_err(|e| refused(path, &layout, e))?;
        let written = layout.tensors().iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { overwrite, layout, new, written })
    }

    /// The plan it follows.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The path of the finished file.
    pub fn target(&self) -> &Path {
        self.new.target()
    }

    /// A path to open the file by until [`Self::finish`] gives it its name: to read back what was written.
    pub fn partial_path(&self) -> PathBuf {
        self.new.partial_path()
    }

    /// Syncs what was written so far. Linux is then asked to evict the file from the page cache, so that reading
    /// it reads the disk.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Limit`] if the system refuses.
    pub fn sync(&self) -> Result<()> {
        let file = self.new.file();
        file.sync_all().map_err(|e| refused(self.new.target(), &self.layout, e))?;
        // A hint. Not to follow it costs no more than the proof that the disk has the bytes.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
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
        write_all_at(self.new.file(), bytes, tensor.offset + byte_offset_in_tensor)
            .map_err(|e| refused(self.new.target(), &self.layout, e))?;
        self.count_written(tensor_index, n_bytes);
        Ok(())
    }

    /// Reads part of a tensor's data as it is in the file now.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// As [`Self::write_at`].
    pub fn read_at(&self, tensor_index: usize, byte_offset_in_tensor: u64, out: &mut [u8]) -> Result<()> {
        let tensor = &self.layout.tensors()[tensor_index];
        assert!(
            byte_offset_in_tensor + out.len() as u64 <= tensor.n_bytes,
            "reading past the end of {}",
            tensor.name
        );
        read_exact_at(self.new.file(), out, tensor.offset + byte_offset_in_tensor)
            .map_err(|e| Error::io(self.new.target(), "cannot read back what was written to", e))
    }

    /// Counts data that an earlier run wrote, and that is what it should be.
    pub fn count_written(&self, tensor_index: usize, n_bytes: u64) {
        self.written[tensor_index].fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// Gives a key of the header another value than the planned one, of as many bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses.
    ///
    /// # Panics
    /// If there is no such key, or the value takes other bytes.
    pub fn put(&self, key: &str, value: Value) -> Result<()> {
        let (start, pair) = self.layout.replaced(key, value);
        write_all_at(self.new.file(), &pair, start).map_err(|e| refused(self.new.target(), &self.layout, e))
    }

    /// Ends without finishing, so that [`Self::resume`] can go on.
    pub fn leave(self) {
        self.new.leave();
    }

    /// Brings everything to disk and gives the file its name, which is returned.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a tensor was not written whole, [`Error::Usage`] if another file took
    /// the name meanwhile, [`Error::Io`] if the system refuses. [`NewFile::finish`] says what becomes of
    /// the file; a finished one that cannot have its name is kept, and the error tells where.
    pub fn finish(self) -> Result<PathBuf> {
        let Self { overwrite, layout, new, written } = self;
        for (tensor, written) in layout.tensors().iter().zip(written) {
            check_whole(new.target(), tensor, written.into_inner())?;
        }
        let target = new.target().to_owned();
        new.finish(overwrite).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::usage(format!("{} was made by another program meanwhile: {e}", target.display()))
            }
            // Not for want of room: that was reserved.
            _ => Error::io(&target, "cannot write", e),
        })
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

/// The error for a write the system refused; want of room is told apart.
fn refused(path: &Path, layout: &Layout, e: io::Error) -> Error {
    let (why, remedy) = match e.kind() {
        io::ErrorKind::StorageFull => ("the disk has no room for them", "Make room"),
        io::ErrorKind::QuotaExceeded => ("your quota on this disk has no room for them", "Make room"),
        io::ErrorKind::FileTooLarge => {
            ("files may not be so long here", "Raise the limit of this shell (ulimit -f) if it has one")
        }
        _ => return Error::io(path, "cannot write", e),
    };
    Error::limit(format!(
        "{}: {} bytes are needed and {why} ({e}). {remedy}, choose a smaller --type, or write elsewhere (gguf-convert: \
         -o, gguf-run: the variable GGUF_CACHE_DIR); nothing was left behind",
        path.display(),
        layout.file_bytes()
    ))
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
