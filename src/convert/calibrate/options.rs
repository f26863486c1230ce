//! What a calibration is asked to do, and what its result depends on.

use std::path::{Path, PathBuf};

use gguf_simd::Kernels;
use sha2::{Digest, Sha256};

use crate::convert::plan::Plan;
use crate::error::{Error, Result};

/// Changes with everything that changes bytes, so that layers of an earlier version are not gone on from.
const VERSION: u32 = 4;

/// What to calibrate with.
#[derive(Clone, Copy, Debug)]
pub struct CalibrateOptions<'a> {
    /// The model as a GGUF file, as precise as it is: its layers are run.
    pub reference: &'a Path,
    /// Tokens of texts, equally many of each.
    pub texts: &'a [Vec<u32>],
    /// Whether the nearest codes are kept: columns are weighed by their inputs, and no codes are chosen.
    pub is_nearest: bool,
    /// The folder that finished layers are kept in.
    pub folder: &'a Path,
    /// Threads. They change no byte.
    pub n_threads: usize,
    /// The arithmetic of this CPU. It changes no byte.
    pub kernels: &'static Kernels,
}

/// The folder in which calibrating a model for `target` keeps its layers.
pub fn folder_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".calibration");
    PathBuf::from(name)
}

/// What a calibration depends on.
pub(super) fn key(plan: &Plan<'_>, options: &CalibrateOptions<'_>) -> Result<String> {
    let io = |e| Error::io(options.reference, "cannot read the size of", e);
    let metadata = std::fs::metadata(options.reference).map_err(io)?;
    let mut hasher = Sha256::new();
    hasher.update(format!("{VERSION} {} {:?};", metadata.len(), metadata.modified().ok()));
    if options.is_nearest {
        hasher.update(b"nearest;");
    }
    for tensor in plan.files().tensors() {
        hasher.update(format!("{:?} {} {:?};", tensor.name, tensor.ty, tensor.shape));
    }
    for text in options.texts {
        text.iter().for_each(|id| hasher.update(id.to_le_bytes()));
        hasher.update(b";");
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
