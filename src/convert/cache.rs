//! Conversions of checkpoints that are run directly, kept in the user's cache folder.
//!
//! A file there is named by what it was made from: a digest over this program's version, the file
//! type, and every file of the checkpoint that a conversion may read. Weights up to
//! `WHOLE_DIGEST_BYTES` are digested whole; of larger ones the header, the length, the time of the
//! last change and blocks spread evenly, since reading all of 15 GB would take longer than loading
//! the result. So changed files make a new name, and an equal checkpoint in a folder of the same name
//! finds the old file, wherever it lies.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;
use crate::convert::naming::{file_stem, folder_identifier};
use crate::convert::{FileType, Plan, PlanOptions, Progress, RunOptions, Summary, run};
use crate::error::{Error, Result};
use crate::gguf::GgufFile;

/// The environment variable that names another cache folder.
pub const CACHE_DIR_VARIABLE: &str = "GGUF_CACHE_DIR";

/// Weight files up to this many bytes in all are digested whole.
const WHOLE_DIGEST_BYTES: u64 = 1 << 30;

/// Changes whenever the same checkpoint would be converted to other bytes.
const FORMAT: &str = concat!("gguf-kit ", env!("CARGO_PKG_VERSION"), " cache 2");

/// Blocks digested of a large file, and their bytes.
const SAMPLES: u64 = 256;
const SAMPLE_BYTES: u64 = 64 << 10;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A GGUF file in the cache.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The file.
    pub path: PathBuf,
    /// How it was made, if it had to be made now.
    pub made: Option<Summary>,
    /// What the plan warned of, if it had to be made now.
    pub warnings: Vec<String>,
}

/// The GGUF file of type `file_type` for the checkpoint at `input`: from the cache, or converted now
/// and kept there. Several programs may do so at once; each finds a whole file or makes one.
///
/// # Errors
/// As [`Checkpoint::open`], [`Plan::new`] and [`run`]; [`Error::Io`] naming `GGUF_CACHE_DIR` if the
/// cache folder cannot be used.
pub fn cached(
    input: &Path,
    file_type: FileType,
    options: &RunOptions,
    progress: &dyn Progress,
) -> Result<Cached> {
    cached_in(&cache_dir()?, input, file_type, options, progress)
}

/// As [`cached`], with `dir` as the cache folder.
///
/// # Errors
/// As there.
pub fn cached_in(
    dir: &Path,
    input: &Path,
    file_type: FileType,
    options: &RunOptions,
    progress: &dyn Progress,
) -> Result<Cached> {
    let checkpoint = Checkpoint::open(input)?;
    let digest = digest(&checkpoint, file_type)?;
    let path =
        dir.join(format!("{}-{file_type}-{digest}.gguf", file_stem(&folder_identifier(checkpoint.dir()))));
    // A file that cannot be read any more (a disk that filled up, a crash) is made again.
    if path.exists() && GgufFile::open(&path).is_ok() {
        return Ok(Cached { path, made: None, warnings: Vec::new() });
    }
    let plan = Plan::new(&checkpoint, &PlanOptions::new(file_type))?;
    let refused = |e| Error::io(dir, "cannot use the cache folder (GGUF_CACHE_DIR names another one)", e);
    fs::create_dir_all(dir).map_err(refused)?;
    tempfile::tempfile_in(dir).map_err(refused)?;
    // Whoever finishes last replaces a file with an equal one; readers keep what they have mapped.
    let made = run(&plan, &path, &RunOptions { overwrite: true, ..*options }, progress)?;
    Ok(Cached { path, made: Some(made), warnings: plan.warnings().to_vec() })
}

/// The cache folder: `GGUF_CACHE_DIR`, or `gguf-kit` in the user's cache folder.
///
/// # Errors
/// [`Error::Usage`] if there is neither.
pub fn cache_dir() -> Result<PathBuf> {
    match env::var_os(CACHE_DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
        Some(dir) => Ok(dir.into()),
        None => dirs::cache_dir().map(|dir| dir.join("gguf-kit")).ok_or_else(|| {
            Error::usage(format!(
                "this user has no cache folder; set {CACHE_DIR_VARIABLE} to one, or convert with gguf-convert"
            ))
        }),
    }
}

/// 24 hexadecimal digits for everything the conversion depends on.
fn digest(checkpoint: &Checkpoint, file_type: FileType) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(FORMAT);
    hasher.update(file_type.name());
    let is_large = checkpoint.total_bytes() > WHOLE_DIGEST_BYTES;
    for path in checkpoint.content_hash_inputs() {
        let cannot_read = |e| Error::io(&path, "cannot read", e);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut file = File::open(&path).map_err(cannot_read)?;
        let metadata = file.metadata().map_err(cannot_read)?;
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(metadata.len().to_le_bytes());
        let is_weights = path.extension().is_some_and(|extension| extension == "safetensors");
        if is_large && is_weights {
            let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hasher.update(changed.map_or(0, |time| time.as_nanos()).to_le_bytes());
            update_with_samples(&mut hasher, &mut file, metadata.len()).map_err(cannot_read)?;
        } else {
            update_with(&mut hasher, &mut file).map_err(cannot_read)?;
        }
    }
    Ok(hasher.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect())
}

fn update_with(hasher: &mut Sha256, reader: &mut impl Read) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(()),
            n => hasher.update(&chunk[..n]),
        }
    }
}

/// The first megabyte, which holds the header, and blocks spread over the rest.
fn update_with_samples(hasher: &mut Sha256, file: &mut File, len: u64) -> std::io::Result<()> {
    update_with(hasher, &mut Read::by_ref(file).take(CHUNK_BYTES as u64))?;
    for sample in 0..SAMPLES {
        let offset = len.saturating_sub(SAMPLE_BYTES) / (SAMPLES - 1) * sample;
        file.seek(SeekFrom::Start(offset))?;
        update_with(hasher, &mut Read::by_ref(file).take(SAMPLE_BYTES))?;
    }
    Ok(())
}
