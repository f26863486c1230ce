//! The residual streams of all texts between two layers: in memory, or in a file beside the target if they are large.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Bytes of streams that stay in memory.
const MOST_IN_MEMORY: usize = 1 << 30;

/// Streams of equally long texts.
#[derive(Debug)]
pub(super) struct Streams {
    /// Floats of a text.
    len: usize,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Memory(Vec<f32>),
    File(File, PathBuf),
}

impl Streams {
    /// Of `n_texts` texts of `len` floats each. A file for them is made in `folder`, without a name.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be.
    pub(super) fn new(n_texts: usize, len: usize, folder: &Path) -> Result<Self> {
        Self::within(MOST_IN_MEMORY, n_texts, len, folder)
    }

    fn within(most: usize, n_texts: usize, len: usize, folder: &Path) -> Result<Self> {
        let kept = if n_texts.saturating_mul(len).saturating_mul(size_of::<f32>()) <= most {
            Kept::Memory(vec![0.0; n_texts * len])
        } else {
            let file = tempfile::tempfile_in(folder);
            Kept::File(file.map_err(|e| Error::io(folder, "cannot create a file in", e))?, folder.to_owned())
        };
        Ok(Self { len, kept })
    }

    /// The streams of these texts, one after the other, into `out`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn get(&mut self, texts: &[usize], out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        for &text in texts {
            match &mut self.kept {
                Kept::Memory(all) => out.extend_from_slice(&all[text * self.len..][..self.len]),
                Kept::File(file, folder) => {
                    let mut bytes = vec![0; self.len * size_of::<f32>()];
                    let read = file.seek(SeekFrom::Start((text * bytes.len()) as u64));
                    read.and_then(|_| file.read_exact(&mut bytes))
                        .map_err(|e| Error::io(folder, "cannot read back a file in", e))?;
                    out.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                }
            }
        }
        Ok(())
    }

    /// Replaces the streams of these texts.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn set(&mut self, texts: &[usize], streams: &[f32]) -> Result<()> {
        for (&text, streams) in texts.iter().zip(streams.chunks_exact(self.len)) {
            match &mut self.kept {
                Kept::Memory(all) => all[text * self.len..][..self.len].copy_from_slice(streams),
                Kept::File(file, folder) => {
                    let bytes: Vec<u8> = streams.iter().flat_map(|value| value.to_le_bytes()).collect();
                    let at = file.seek(SeekFrom::Start((text * bytes.len()) as u64));
                    at.and_then(|_| file.write_all(&bytes))
                        .map_err(|e| Error::io(folder, "cannot write to a file in", e))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_in_memory_and_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for most in [usize::MAX, 0] {
            let mut streams = Streams::within(most, 3, 2, folder.path()).unwrap();
            streams.set(&[2, 0], &[5.0, 6.0, 1.0, 2.0]).unwrap();
            streams.set(&[1], &[3.0, 4.0]).unwrap();
            let mut out = Vec::new();
            streams.get(&[0, 1, 2], &mut out).unwrap();
            assert_eq!(out, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        }
    }
}
