//! Conversions of checkpoints that are run directly, kept in the user's cache folder.
//!
//! A file there is named by a digest of everything that decides its bytes (`cache_key`). So a changed
//! checkpoint, and a program that converts it differently, make a new name, and an equal checkpoint in a
//! folder of the same name finds the old file, wherever it lies. The plan is made even if the file is
//! there: it costs little next to loading, and its warnings are as true as on the first day.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::convert::cache_key;
use crate::convert::naming::{file_stem, folder_identifier};
use crate::convert::{FileType, Plan, PlanOptions, Progress, RunOptions, Summary, TokenizerDifferences, run};
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::new_file::remove_all_left_overs;

/// The environment variable that names another cache folder.
pub const CACHE_DIR_VARIABLE: &str = "GGUF_CACHE_DIR";

/// A GGUF file in the cache.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The file.
    pub path: PathBuf,
    /// How it was made, if it had to be made now.
    pub made: Option<Summary>,
    /// What the plan warns of.
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
    let planned = |tokenizer_differences| {
        Plan::new(&checkpoint, &PlanOptions { tokenizer_differences, ..PlanOptions::new(file_type) })
    };
    // The tokenizer of a file that is there already was compared when that was made.
    let plan = planned(TokenizerDifferences::Unchecked)?;
    let key = cache_key::of(&checkpoint, &plan, options.kernels)?;
    let path =
        dir.join(format!("{}-{file_type}-{key}.gguf", file_stem(&folder_identifier(checkpoint.dir()))));
    // A file that cannot be read any more (a disk that filled up, a crash) is made again.
    if path.exists() && GgufFile::open(&path).is_ok() {
        return Ok(Cached { path, made: None, warnings: plan.warnings().to_vec() });
    }
    let plan = planned(TokenizerDifferences::Refused)?;
    let refused = |e| Error::io(dir, "cannot use the cache folder (set GGUF_CACHE_DIR to use another)", e);
    fs::create_dir_all(dir).map_err(refused)?;
    remove_all_left_overs(dir);
    tempfile::tempfile_in(dir).map_err(refused)?;
    // The last to finish replaces a file with an equal one; readers keep what they have mapped.
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
