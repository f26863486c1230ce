//! Sequences in files, so that a long prompt is read once and not at every start.
//!
//! All numbers are little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `gguf-seq` |
//! | 4 | version: 1, or 2 where a journal may follow (see [`super::session_file`]) |
//! | 32 | the fingerprint of the model's file |
//! | 4, 4 | the types of keys and values, as GGUF numbers them |
//! | 4, 4, 4, 4 | layers, key-value heads, elements of a key and of a value |
//! | 8 | positions |
//! | 8 | attached bytes |
//! | 4 for each position | its token |
//! | | the rows of the keys and of the values of each head, layer by layer |
//! | | what the program that saved it attached: a chat its messages |
//! | 32 | SHA-256 of everything before |
//!
//! Nothing is allocated and nothing computed before the sizes have been checked against the file's and
//! against the context asked for.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use gguf_simd::attention::CacheType;
use sha2::{Digest, Sha256};

use super::engine::Engine;
use super::fingerprint::fingerprint;
use super::sequence::Sequence;
use crate::error::{Error, Result};
use crate::model::{KvCache, KvTypes};
use crate::new_file::{NewFile, target_of};
use crate::regular_file;

const MAGIC: [u8; 8] = *b"gguf-seq";
const DIGEST_BYTES: usize = 32;
const HEADER_BYTES: u64 = 8 + 4 + 32 + 2 * 4 + 4 * 4 + 2 * 8;

/// Whether a file ends with its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// It does.
    Fixed,
    /// A journal may follow.
    Journal,
}

impl Growth {
    fn version(self) -> u32 {
        match self {
            Self::Fixed => 1,
            Self::Journal => 2,
        }
    }
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
        let version = growth.version();
        let header = Header::of(self.engine(), self.kv_types(), self.n_past(), attached.len());
        Header { version, ..header }.write(&mut out)?;
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
    /// [`Error::Usage`] if it holds no sequence, [`Error::Malformed`] if it ends in its header,
    /// [`Error::Io`] if it cannot be read.
    pub fn attached_bytes(path: &Path) -> Result<Option<u64>> {
        if matches!(fs::metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        attached_bytes(&regular_file::open(path)?, path).map(Some)
    }

    /// Reads a sequence that [`Sequence::save`] wrote, with room for `n_ctx` positions.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file holds no sequence, one of another model, or other types of keys and
    /// values than `kv_types`; [`Error::Limit`] if it has more than `n_ctx` positions or there is no
    /// memory for so many; [`Error::Malformed`] and [`Error::Unsupported`] for what it holds;
    /// [`Error::Io`] if it cannot be read.
    pub fn load(engine: &'e Engine, n_ctx: usize, kv_types: KvTypes, path: &Path) -> Result<Self> {
        Self::read_file(engine, (n_ctx, kv_types), path, &regular_file::open(path)?)
            .map(|(sequence, _)| sequence)
    }

    /// Reads a sequence from a file that was opened from `path`, as [`Sequence::load`] does.
    pub(super) fn read_file(
        engine: &'e Engine,
        (n_ctx, kv_types): (usize, KvTypes),
        path: &Path,
        file: &File,
    ) -> Result<(Self, End)> {
        let refused = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::malformed(path, "it ends in the middle"),
            _ => Error::io(path, "cannot read", e),
        };
        let file_bytes = file.metadata().map_err(|e| Error::io(path, "cannot read the size of", e))?.len();
        let mut input = Digested::new(BufReader::with_capacity(BUFFER_BYTES, file));
        read_magic(&mut input, path)?;
        let header = Header::read(&mut input).map_err(refused)?;
        let growth = header.growth(path)?;
        let n = header.check(&Header::of(engine, kv_types, 0, 0), n_ctx, path)?;
        let position_bytes =
            KvCache::position_bytes(engine.decoder().kv_spec(), kv_types)? + size_of::<u32>();
        let at = header.check_file_bytes(position_bytes, file_bytes, path)?;
        let mut sequence = Self::new(engine, n_ctx, kv_types)?;
        sequence.read(n, &mut input).map_err(refused)?;
        (&mut input).take(header.n_attached).read_to_end(&mut sequence.attached).map_err(refused)?;
        let (found, mut expected) = (input.digest(), [0; DIGEST_BYTES]);
        input.inner.read_exact(&mut expected).map_err(refused)?;
        if found != expected {
            return Err(Error::malformed(path, "its content does not have the digest that it ends with"));
        }
        // A model computes no others, and from these it would compute logits that are no numbers.
        if !sequence.cache.is_finite() {
            let what = "its keys and values are not all numbers; name another file (--session)";
            return Err(Error::malformed(path, what));
        }
        match sequence.ids.iter().find(|&&id| id as usize >= engine.n_vocab()) {
            Some(id) => Err(Error::malformed(path, format!("token {id} is not in the model's vocabulary"))),
            None => Ok((sequence, End { growth, at, digest: found })),
        }
    }

    fn read(&mut self, n: usize, input: &mut impl Read) -> io::Result<()> {
        for _ in 0..n {
            self.ids.push(read_u32(input)?);
        }
        self.cache.read_rows(n, input)
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
/// [`Error::Usage`] if it holds no sequence, [`Error::Malformed`] if it ends in the header.
pub(super) fn attached_bytes(file: &File, path: &Path) -> Result<u64> {
    let mut input = BufReader::with_capacity(HEADER_BYTES as usize, file);
    read_magic(&mut input, path)?;
    let header = Header::read(&mut input);
    header.map(|header| header.n_attached).map_err(|_| Error::malformed(path, "it ends in the middle"))
}

/// What stands before the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    version: u32,
    fingerprint: [u8; DIGEST_BYTES],
    types: Types,
    shape: Shape,
    n_positions: u64,
    n_attached: u64,
}

/// The types of keys and values, as GGUF numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Types {
    keys: u32,
    values: u32,
}

/// The dimensions of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    n_layer: u32,
    n_head_kv: u32,
    head_dim_k: u32,
    head_dim_v: u32,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_layer, n_head_kv, head_dim_k, head_dim_v } = self;
        write!(f, "{n_layer} layers of {n_head_kv} key-value heads of {head_dim_k} and {head_dim_v} elements")
    }
}

impl Header {
    /// The header of some positions and attached bytes.
    fn of(engine: &Engine, kv_types: KvTypes, n_positions: usize, n_attached: usize) -> Self {
        let h = engine.hparams();
        let ggml_id = |ty: CacheType| ty.block_type().ggml_id();
        let types = Types { keys: ggml_id(kv_types.keys), values: ggml_id(kv_types.values) };
        // All are within `limits`, far below 2^32.
        let shape = Shape {
            n_layer: h.n_layer as u32,
            n_head_kv: h.n_head_kv as u32,
            head_dim_k: h.head_dim_k as u32,
            head_dim_v: h.head_dim_v as u32,
        };
        let fingerprint = fingerprint(engine.file());
        let (n_positions, n_attached) = (n_positions as u64, n_attached as u64);
        Self { version: Growth::Fixed.version(), fingerprint, types, shape, n_positions, n_attached }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.version.to_le_bytes())?;
        out.write_all(&self.fingerprint)?;
        let Shape { n_layer, n_head_kv, head_dim_k, head_dim_v } = self.shape;
        for number in [self.types.keys, self.types.values, n_layer, n_head_kv, head_dim_k, head_dim_v] {
            out.write_all(&number.to_le_bytes())?;
        }
        out.write_all(&self.n_positions.to_le_bytes())?;
        out.write_all(&self.n_attached.to_le_bytes())
    }

    fn read(input: &mut impl Read) -> io::Result<Self> {
        let version = read_u32(input)?;
        let mut fingerprint = [0; DIGEST_BYTES];
        input.read_exact(&mut fingerprint)?;
        let types = Types { keys: read_u32(input)?, values: read_u32(input)? };
        let shape = Shape {
            n_layer: read_u32(input)?,
            n_head_kv: read_u32(input)?,
            head_dim_k: read_u32(input)?,
            head_dim_v: read_u32(input)?,
        };
        let (n_positions, n_attached) = (read_u64(input)?, read_u64(input)?);
        Ok(Self { version, fingerprint, types, shape, n_positions, n_attached })
    }

    fn growth(&self, path: &Path) -> Result<Growth> {
        let known = [Growth::Fixed, Growth::Journal];
        known.into_iter().find(|growth| growth.version() == self.version).ok_or_else(|| {
            let what = format!("a saved session of version {}; this program has 1 and 2", self.version);
            Error::unsupported(path, what)
        })
    }

    /// Whether this header goes with that of an empty sequence of `n_ctx` positions; the number of its
    /// own positions.
    fn check(&self, own: &Self, n_ctx: usize, path: &Path) -> Result<usize> {
        let shown = path.display();
        if self.fingerprint != own.fingerprint {
            return Err(Error::usage(format!(
                "{shown} was saved with another model or another file of it; name another file (--session)"
            )));
        }
        if self.types != own.types {
            let types = [self.types.keys, self.types.values].map(type_name).join(",").to_lowercase();
            return Err(Error::usage(format!(
                "{shown} holds keys and values in {types}; use --kv-type {types}, or name another file (--session)"
            )));
        }
        if self.shape != own.shape {
            let what = format!("it is of a model with {}; this one has {}", self.shape, own.shape);
            return Err(Error::malformed(path, what));
        }
        usize::try_from(self.n_positions).ok().filter(|&n| n <= n_ctx).ok_or_else(|| {
            let n = self.n_positions;
            Error::limit(format!(
                "{shown} holds {n} tokens and the context is {n_ctx}; use --ctx {n} or more, or name another file \
                 (--session)"
            ))
        })
    }

    /// Whether a file has the bytes of what this header announces, and more only where a journal may
    /// follow; their number.
    fn check_file_bytes(&self, position_bytes: usize, found: u64, path: &Path) -> Result<u64> {
        let (n, n_attached) = (self.n_positions, self.n_attached);
        let rows = (position_bytes as u64).checked_mul(n);
        let announced = rows.and_then(|rows| rows.checked_add(n_attached));
        let expected = announced.and_then(|bytes| bytes.checked_add(HEADER_BYTES + DIGEST_BYTES as u64));
        let may_grow = self.version == Growth::Journal.version();
        if let Some(bytes) = expected.filter(|&bytes| bytes == found || may_grow && bytes < found) {
            return Ok(bytes);
        }
        let expected = expected.map_or("more than can be counted".to_owned(), |n| n.to_string());
        let what =
            format!("{n} positions and {n_attached} bytes more take {expected} bytes; the file has {found}");
        Err(Error::malformed(path, what))
    }
}

fn type_name(ggml_id: u32) -> String {
    let ty = CacheType::ALL.into_iter().find(|ty| ty.block_type().ggml_id() == ggml_id);
    ty.map_or_else(|| format!("type {ggml_id}"), |ty| ty.name().to_owned())
}

fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_u64(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
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
