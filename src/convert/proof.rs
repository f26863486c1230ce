//! A file that proves its own quality: what was measured of it when it was made, and a hash of each tensor, in keys of
//! the file.
//!
//! The keys are planned with values of the length of the real ones, and get these when the file is written and read back
//! (`super::verify`): every row of it is decoded and compared with its source. [`check`] finds out later whether a file
//! is still what it says.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::convert::parallel::{in_order, pool};
use crate::error::{Error, Result};
use crate::gguf::{Value, parts};
use crate::quantize::ErrorStats;

/// What the keys begin with.
pub(super) const PREFIX: &str = "gguf-kit.proof.";

/// Who measured.
const PROGRAM: &str = "gguf-kit.proof.program";
/// The SHA-256 of the data of each tensor, in the order of the tensors, in hexadecimal.
const HASHES: &str = "gguf-kit.proof.sha256";
/// The error of each tensor against its source, root mean square over that of the source.
const ERRORS: &str = "gguf-kit.proof.relative_rmse";

/// Hexadecimal digits of a hash.
const N_DIGITS: usize = 64;

/// What was found of a tensor in the finished file.
#[derive(Clone, Debug, PartialEq)]
pub struct Proved {
    /// The SHA-256 of its data, in hexadecimal.
    pub sha256: String,
    /// Its error against the source, as it was read back.
    pub measured: ErrorStats,
}

/// A file that is what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// What wrote it.
    pub program: String,
    /// Tensors whose data has its hash: all.
    pub n_tensors: usize,
    /// The name of each, and its error when it was written.
    pub errors: Vec<(String, f32)>,
}

/// The pairs of a file of `n_tensors`, with values to be replaced by those that [`keys`] makes.
pub(super) fn placeholders(n_tensors: usize) -> Vec<(String, Value)> {
    keys(&vec![Proved { sha256: "0".repeat(N_DIGITS), measured: ErrorStats::default() }; n_tensors])
}

/// The pairs of what was found of the tensors.
pub(super) fn keys(proved: &[Proved]) -> Vec<(String, Value)> {
    let program = concat!("gguf-kit ", env!("CARGO_PKG_VERSION"));
    vec![
        (PROGRAM.into(), Value::String(program.into())),
        (HASHES.into(), Value::Strings(proved.iter().map(|tensor| tensor.sha256.clone()).collect())),
        (
            ERRORS.into(),
            Value::F32s(proved.iter().map(|tensor| tensor.measured.relative_rmse() as f32).collect()),
        ),
    ]
}

/// The hash of the data of a tensor.
pub(super) fn hash(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks the file at `path`, or all parts of a model, against what it says of itself.
///
/// # Errors
/// [`Error::Usage`] if it says nothing; [`Error::Malformed`] naming the tensors that are damaged; as
/// [`parts::open_whole`].
pub fn check(path: &Path, n_threads: usize) -> Result<Checked> {
    let file = parts::open_whole(path)?;
    let metadata = file.metadata();
    let (hashes, errors) = (metadata.strings(HASHES)?, metadata.f32s(ERRORS)?);
    let (Some(hashes), Some(errors)) = (hashes, errors) else {
        return Err(Error::usage(format!(
            "{} holds no proof of its own; gguf-convert --verify writes one",
            path.display()
        )));
    };
    let (hashes, n) = (hashes.collect::<Vec<_>>(), file.tensors().len());
    if hashes.len() != n || errors.len() != n {
        return Err(Error::malformed(
            path,
            format!(
                "it has {n} tensors, and its proof is of {}: tensors were taken out or put in since",
                hashes.len()
            ),
        ));
    }
    let pool = pool(n_threads, n)?;
    let is_sound =
        in_order(&pool, n, |(): &mut (), i| Ok(hash(file.bytes(&file.tensors()[i])) == hashes[i]))?;
    let names = || file.tensors().iter().map(|tensor| tensor.name.clone());
    let damaged: Vec<String> =
        names().zip(&is_sound).filter(|(_, is_sound)| !**is_sound).map(|(name, _)| name).collect();
    if let Some(first) = damaged.first() {
        let others =
            if damaged.len() > 1 { format!(" and {} others", damaged.len() - 1) } else { String::new() };
        return Err(Error::malformed(
            path,
            format!(
                "the data of {first}{others}, of {n} tensors, is not what was written: it was damaged since. Get the file again, \
                 or convert again"
            ),
        ));
    }
    let program = metadata.string(PROGRAM)?.unwrap_or("an unknown program").to_owned();
    Ok(Checked { program, n_tensors: n, errors: names().zip(errors).collect() })
}
