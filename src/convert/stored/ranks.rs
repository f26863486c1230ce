//! Matrices of which each file of a set holds a part, as tensor-parallel training saves them.

use std::path::Path;

use gguf_simd::BlockType;

use super::{Levels, Packed, Scratch, Step, Stored, float_type_of, read_floats};
use crate::checkpoint::{Checkpoint, TensorView, axis_of};
use crate::error::{Error, Result};

/// A matrix in parts that follow each other along one axis.
#[derive(Debug)]
struct Joined<'a> {
    /// Alike in shape and type.
    parts: Vec<TensorView<'a>>,
    /// Whether parts hold columns, and else rows.
    is_of_columns: bool,
    /// `[n_out, n_in]`
    shape: [usize; 2],
}

/// The tensor that the ranks of `checkpoint` hold together; `None` if there is only one rank.
///
/// # Errors
/// [`Error::Malformed`] if a rank lacks its part, or has one of another shape.
pub(super) fn tensor<'a>(checkpoint: &'a Checkpoint, name: &str) -> Result<Option<Stored<'a>>> {
    let Some(parts) = checkpoint.ranks_of(name)? else { return Ok(None) };
    let first = parts[0];
    let differs = |part: &&TensorView<'_>| (part.shape, part.dtype) != (first.shape, first.dtype);
    if let Some(other) = parts.iter().find(differs) {
        let what = format!(
            "tensor {name} is {} of shape {:?}, and {} of {:?} in {}: the files are not of one model; download them again",
            other.dtype,
            other.shape,
            first.dtype,
            first.shape,
            first.path().display()
        );
        return Err(Error::malformed(other.path(), what));
    }
    let n_embd = checkpoint.config().count("hidden_size")?.unwrap_or(0);
    let Some(axis) = axis_of(name, first.shape, n_embd) else { return Ok(Some(Stored::Plain(first))) };
    let mut shape = [first.shape[0], first.shape[1]];
    shape[axis] *= parts.len();
    let joined = Joined { parts, is_of_columns: axis == 1, shape };
    Ok(Some(Stored::Packed(std::sync::Arc::new(joined))))
}

impl Packed for Joined<'_> {
    fn scheme(&self) -> &'static str {
        self.parts[0].dtype.name()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.parts[0].path()
    }

    fn n_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.n_bytes).sum()
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let [n_rows, n_in] = [self.parts[0].shape[0], self.shape[1]];
        if self.is_of_columns {
            let width = n_in / self.parts.len();
            let values = &mut scratch.zeros;
            values.resize(out.len() / n_in * width, 0.0);
            for (part, columns) in self.parts.iter().zip((0..n_in).step_by(width)) {
                read_floats(part, first * width, values, &mut scratch.bytes)?;
                for (out, row) in out.chunks_exact_mut(n_in).zip(values.chunks_exact(width)) {
                    out[columns..][..width].copy_from_slice(row);
                }
            }
            return Ok(());
        }
        let (mut row, mut rest) = (first, out);
        while !rest.is_empty() {
            let n = (n_rows - row % n_rows).min(rest.len() / n_in);
            let (now, later) = rest.split_at_mut(n * n_in);
            read_floats(&self.parts[row / n_rows], row % n_rows * n_in, now, &mut scratch.bytes)?;
            (row, rest) = (row + n, later);
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }

    fn float_type(&self) -> Option<BlockType> {
        float_type_of(self.parts[0].dtype)
    }

    fn is_quantised(&self) -> bool {
        false
    }
}
