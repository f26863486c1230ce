//! Sequences in files, so that a long prompt is read once and not at every start.
//!
//! All numbers are little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `gguf-seq` |
//! | 4 | version: 7, or 8 where a journal may follow (see [`super::session_file`]) |
//! | 32 | the fingerprint of the model's file |
//! | 4, 4 | the types of keys and values, as GGUF numbers them |
//! | 4 | layers |
//! | 4, 4, 4, 4 for each layer | key-value heads, elements of a key and of a value, the window; 0 for none |
//! | 8 for each layer | floats of the state of a recurrent mixer; 0 for none |
//! | 8 | positions |
//! | 8 | attached bytes |
//! | 8 for each window | the first position whose rows follow; windows in the order of the layers, each once |
//! | 8 | positions before the last whose states follow as well |
//! | 8 for each of these | the position, in ascending order |
//! | 4 for each position | its token |
//! | | the rows of the keys and of the values of each head, layer by layer |
//! | | the states of the layers at each of those positions, then those at the last, in single precision |
//! | | what the program that saved it attached: a chat its messages |
//! | 32 | SHA-256 of everything before |
//!
//! Without recurrent mixers, files are of versions 3 and 4, which do not have what belongs to states.
//! Where all layers are alike and see all positions, files are of versions 1 and 2, which other programs know:
//! their header says `4, 4, 4, 4` layers, heads, elements of a key and of a value, then positions and attached
//! bytes.
//!
//! Nothing is allocated and nothing computed before the sizes have been checked against the file's and
//! against the context asked for.

mod header;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::engine::Engine;
use super::sequence::Sequence;
use super::session_options::SessionOptions;
use crate::error::{Error, Result};
use crate::new_file::{NewFile, target_of};
use crate::regular_file;
use header::{Header, read_u32, refused};

const MAGIC: [u8; 8] = *b"gguf-seq";
const DIGEST_BYTES: usize = 32;

/// Whether a file ends with its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// It does.
    Fixed,
    /// A journal may follow.
    Journal,
}

/// The end of a sequence in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// What may follow.
    pub growth: Growth,
    /// Bytes up to the end of the digest.
    pub at: u64,
    /// The digest.
    pub digest: [u8; DIGEST_BYTES],
}

/// Bytes read and written at a time.
const BUFFER_BYTES: usize = 256 << 10;

impl<'e> Sequence<'e> {
    /// Writes the sequence to a file, which appears under its name only when it is whole, with `attached`
    /// for the program that loads it. The file names its model by a fingerprint: of the model file's header
    /// and length and of three samples of every tensor. A model of which only a few bytes between the samples
    /// were changed passes for the same.
    ///
    /// # Errors
    /// As [`Sequence::check_target`]; [`Error::Io`] if the system refuses. A file of the name is then as
    /// it was.
    pub fn save(&self, path: &Path, attached: &[u8]) -> Result<()> {
        let new = NewFile::create(target(path)?)?;
        let written = self.write(new.file(), Growth::Fixed, attached);
        written.and_then(|_| new.finish(true)).map_err(|e| Error::io(path, "cannot write", e))?;
        Ok(())
    }

    /// Writes the sequence to an empty file.
    pub(super) fn write(&self, file: &File, growth: Growth, attached: &[u8]) -> io::Result<End> {
        let mut out = Digested::new(BufWriter::with_capacity(BUFFER_BYTES, file));
        out.write_all(&MAGIC)?;
        let mut header = Header::of(self.engine(), self.kv_types(), self.n_ctx(), growth);
        header.n_positions = self.n_past() as u64;
        header.n_attached = attached.len() as u64;
        header.first_held = self.cache.first_held();
        header.kept_states = self.cache.kept_states();
        header.write(&mut out)?;
        for id in self.ids() {
            out.write_all(&id.to_le_bytes())?;
        }
        self.cache.write_rows(&mut out)?;
        out.write_all(attached)?;
        let digest = out.digest();
        out.inner.write_all(&digest)?;
        out.inner.flush()?;
        let mut file = out.inner.into_inner()?;
        Ok(End { growth, at: file.stream_position()?, digest })
    }

    /// Whether [`Sequence::save`] can write to `path`, as far as can be told beforehand.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is a directory or a device or its folder does not exist; [`Error::Io`]
    /// naming the folder if no file can be created there.
    pub fn check_target(path: &Path) -> Result<()> {
        NewFile::create(target(path)?).map(drop)
    }

    /// How many bytes are attached to the sequence in the file at `path`; `None` if there is no file.
    ///
    /// # Errors
    /// [`Error::Usage`] if it holds no sequence, [`Error::Malformed`] and [`Error::Unsupported`] for its
    /// header, [`Error::Io`] if it cannot be read.
    pub fn attached_bytes(path: &Path) -> Result<Option<u64>> {
        if matches!(fs::metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        attached_bytes(&regular_file::open(path)?, path).map(Some)
    }

    /// Reads a sequence that [`Sequence::save`] wrote into one that is made for `options`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file holds no sequence, one of another model, or other types of keys and
    /// values than are asked for; [`Error::Limit`] if it has more than `n_ctx` positions or there is no
    /// memory for so many; [`Error::Malformed`] and [`Error::Unsupported`] for what it holds;
    /// [`Error::Io`] if it cannot be read.
    pub fn load(engine: &'e Engine, options: SessionOptions, path: &Path) -> Result<Self> {
        Self::read_file(engine, options, path, &regular_file::open(path)?).map(|(sequence, _)| sequence)
    }

    /// Reads a sequence from a file that was opened from `path`, as [`Sequence::load`] does.
    pub(super) fn read_file(
        engine: &'e Engine,
        options: SessionOptions,
        path: &Path,
        file: &File,
    ) -> Result<(Self, End)> {
        let refused = |e| refused(e, path);
        let file_bytes = file.metadata().map_err(|e| Error::io(path, "cannot read the size of", e))?.len();
        let mut input = Digested::new(BufReader::with_capacity(BUFFER_BYTES, file));
        read_magic(&mut input, path)?;
        let header = Header::read(&mut input, path)?;
        let growth = header.growth();
        let n = header.check(
            &Header::of(engine, options.kv_types, options.n_ctx, growth),
            options.n_ctx,
            path,
        )?;
        let at = header.check_file_bytes(options.kv_types, file_bytes, path)?;
        let mut sequence = Self::new(engine, options)?;
        sequence.read(n, &header, path, &mut input)?;
        (&mut input).take(header.n_attached).read_to_end(&mut sequence.attached).map_err(refused)?;
        let (found, mut expected) = (input.digest(), [0; DIGEST_BYTES]);
        input.inner.read_exact(&mut expected).map_err(refused)?;
        if found != expected {
            let what = "the session was changed or damaged since it was saved: its content does not have the digest \
                        that it ends with; take a copy of it, or name another file (--session)";
            return Err(Error::malformed(path, what));
        }
        // A model computes no others, and from these it would compute logits that are not numbers.
        if !sequence.cache.is_finite() {
            let what = "its keys and values are not all numbers; name another file (--session)";
            return Err(Error::malformed(path, what));
        }
        match sequence.ids.iter().find(|&&id| id as usize >= engine.n_vocab()) {
            Some(id) => Err(Error::malformed(path, format!("token {id} is not in the model's vocabulary"))),
            None => Ok((sequence, End { growth, at, digest: found })),
        }
    }

    fn read(&mut self, n: usize, header: &Header, path: &Path, input: &mut impl Read) -> Result<()> {
        let refused = |e| refused(e, path);
        for _ in 0..n {
            self.ids.push(read_u32(input).map_err(refused)?);
        }
        self.cache.read_rows(n, &header.first_held, input).map_err(refused)?;
        for &kept in &header.kept_states {
            self.cache.read_kept_state(kept, input).map_err(refused)?;
            self.prepare(1)?;
        }
        self.cache.read_state(input).map_err(refused)
    }
}

pub(super) fn target(path: &Path) -> Result<PathBuf> {
    target_of(path, "chat.session")
}

fn read_magic(input: &mut impl Read, path: &Path) -> Result<()> {
    let mut magic = [0; MAGIC.len()];
    if input.read_exact(&mut magic).is_err() || magic != MAGIC {
        let what = format!("{} holds no saved session; name another file (--session)", path.display());
        return Err(Error::usage(what));
    }
    Ok(())
}

/// How many bytes are attached to the sequence in `file`, which was opened from `path`, as its header
/// says.
///
/// # Errors
/// [`Error::Usage`] if it holds no sequence; as [`Header::read`].
pub(super) fn attached_bytes(file: &File, path: &Path) -> Result<u64> {
    let mut input = BufReader::new(file);
    read_magic(&mut input, path)?;
    Header::read(&mut input, path).map(|header| header.n_attached)
}

/// A reader or a writer, with a digest of what has passed.
struct Digested<T> {
    inner: T,
    hasher: Sha256,
}

impl<T> Digested<T> {
    fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        self.hasher.clone().finalize().into()
    }
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
