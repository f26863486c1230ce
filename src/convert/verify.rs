//! Reads a written file back before it gets its name.
//!
//! The header must say what was planned, and sampled rows must hold the very bytes that encoding
//! their source again gives: encoding is deterministic, so a difference means that the disk, the
//! memory or this program erred.

use std::path::Path;

use gguf_simd::kernels::Kernels;

use crate::convert::plan::{Plan, Planned};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, PlacedTensor};

/// Checks the file at `path` against `plan`.
///
/// # Errors
/// [`Error::Malformed`] naming the first difference, or as the reader finds it.
pub(super) fn verify(plan: &Plan<'_>, path: &Path, kernels: &Kernels) -> Result<()> {
    let file = GgufFile::open(path)?;
    let differs = |what: String| Err(Error::malformed(path, format!("read back after writing: {what}")));
    if !file.metadata().keys().eq(plan.metadata_keys()) {
        return differs("its metadata keys are not the planned ones".into());
    }
    let planned = plan.layout().tensors();
    if file.tensors().len() != planned.len() {
        return differs(format!("{} tensors instead of {}", file.tensors().len(), planned.len()));
    }
    for ((found, placed), source) in file.tensors().iter().zip(planned).zip(plan.sources()) {
        let same = found.name == placed.name
            && found.shape == placed.shape
            && found.ty.block_type() == Some(placed.block_type)
            && found.offset == placed.offset
            && found.n_bytes as u64 == placed.n_bytes;
        if !same {
            return differs(format!("{found:?} instead of {placed:?}"));
        }
        if let Some(row) = differing_row(source, placed, file.bytes(found), kernels) {
            return differs(format!("row {row} of {} is not what was written", placed.name));
        }
    }
    Ok(())
}

/// Encodes the first, the middle and the last row again; the first one that `bytes` lacks.
fn differing_row(
    source: &Planned<'_>,
    placed: &PlacedTensor,
    bytes: &[u8],
    kernels: &Kernels,
) -> Option<usize> {
    let rows = &source.rows;
    let row_bytes = bytes.len() / rows.n_rows();
    let mut values = vec![0.0; rows.n_in()];
    let mut blocks = vec![0; row_bytes];
    [0, rows.n_rows() / 2, rows.n_rows() - 1].into_iter().find(|&row| {
        rows.read(row, &mut values);
        kernels.encode(placed.block_type, &values, None, &mut blocks);
        bytes[row * row_bytes..][..row_bytes] != blocks
    })
}
