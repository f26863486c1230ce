//! Where each row of a GGUF tensor is in the checkpoint.
//!
//! Both reorderings that a conversion needs move whole rows: the rotary order of q and k inside a
//! head, and experts stacked along a new dimension. So an output row is read from the place this file
//! computes, together with its neighbours in the file as far as they are asked for as well.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::checkpoint::{SourceType, TensorView};
use crate::error::Result;
use crate::model::Transform;
use crate::quantize::decode_source;

/// The rows of one output tensor, in the order they are written.
#[derive(Debug)]
pub(super) struct SourceRows<'a> {
    origin: Origin<'a>,
    transform: Transform,
    n_rows: usize,
    n_in: usize,
}

#[derive(Debug)]
enum Origin<'a> {
    /// Parts with equally many rows: one, or one per expert.
    Checkpoint(Vec<Part<'a>>),
    Computed(Vec<f32>),
}

/// A checkpoint tensor.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// Its name in the checkpoint.
    pub(super) name: String,
    /// Its elements.
    pub(super) view: TensorView<'a>,
}

/// What reading keeps from one group of rows to the next.
#[derive(Debug, Default)]
pub(super) struct Reading {
    bytes: Vec<u8>,
    /// The rows of a group as (row of all parts, row of the group), in the order of the file.
    order: Vec<(usize, usize)>,
}

impl<'a> SourceRows<'a> {
    /// The rows of checkpoint tensors stacked in order, `n_in` elements each, `n_rows` in all, none
    /// of them 0. That the parts hold exactly these, and that the rows divide into rotary pairs, is
    /// for the caller to have checked.
    ///
    /// # Panics
    /// Later, if they do not.
    pub(super) fn from_checkpoint(
        parts: Vec<Part<'a>>,
        transform: Transform,
        n_rows: usize,
        n_in: usize,
    ) -> Self {
        Self { origin: Origin::Checkpoint(parts), transform, n_rows, n_in }
    }

    /// One row of computed values.
    pub(super) fn computed(values: Vec<f32>) -> Self {
        Self { n_rows: 1, n_in: values.len(), origin: Origin::Computed(values), transform: Transform::None }
    }

    /// The name in the checkpoint of the tensor that the rows are of, or of the first.
    pub(super) fn name(&self) -> &str {
        match &self.origin {
            Origin::Checkpoint(parts) => &parts[0].name,
            Origin::Computed(_) => "computed values",
        }
    }

    /// Whether both are rows of one checkpoint tensor.
    pub(super) fn is_of_the_same_tensor(&self, other: &Self) -> bool {
        matches!((&self.origin, &other.origin), (Origin::Checkpoint(a), Origin::Checkpoint(b)) if a[0].name == b[0].name)
    }

    /// Rows in all.
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Elements of a row.
    pub(super) fn n_in(&self) -> usize {
        self.n_in
    }

    /// The element type of the source; F32 for computed values.
    pub(super) fn source_type(&self) -> SourceType {
        match &self.origin {
            Origin::Checkpoint(parts) => parts[0].view.dtype,
            Origin::Computed(_) => SourceType::F32,
        }
    }

    /// Elements of all rows.
    pub(super) fn n_elements(&self) -> u64 {
        self.n_rows as u64 * self.n_in as u64
    }

    /// Bytes that reading `n_rows` rows takes from the checkpoint.
    pub(super) fn source_bytes(&self, n_rows: usize) -> u64 {
        match &self.origin {
            Origin::Checkpoint(_) => (n_rows * self.n_in * self.source_type().element_bytes()) as u64,
            Origin::Computed(_) => 0,
        }
    }

    /// Adds to `hasher` what the values depend on beside the weights: which tensors they come from, in
    /// which order, or the values themselves if they are computed.
    pub(super) fn update_digest(&self, hasher: &mut Sha256) {
        const MOST_ROWS: usize = 64;
        hasher.update([self.n_rows as u64, self.n_in as u64].map(u64::to_le_bytes).as_flattened());
        match &self.origin {
            Origin::Computed(values) => values.iter().for_each(|value| hasher.update(value.to_le_bytes())),
            Origin::Checkpoint(parts) => {
                for Part { name, view } in parts {
                    hasher.update(format!(
                        "{name:?} {:?} {} {:?};",
                        view.path().file_name(),
                        view.dtype,
                        view.shape
                    ));
                }
                for row in (0..self.n_rows).step_by(self.n_rows.div_ceil(MOST_ROWS)) {
                    let (part, row) = self.locate(parts.len(), row);
                    hasher.update([part as u64, row as u64].map(u64::to_le_bytes).as_flattened());
                }
            }
        }
    }

    /// Where an element of output row `row` comes from: the file, and "tensor x, element [3, 7]" in it.
    pub(super) fn origin_of(&self, row: usize, column: usize) -> (&Path, String) {
        let Origin::Checkpoint(parts) = &self.origin else {
            return (Path::new("config.json"), format!("computed value {column}"));
        };
        let (part, row) = self.locate(parts.len(), row);
        let Part { name, view } = &parts[part];
        let element = if view.shape.len() > 1 {
            format!("[{row}, {column}]")
        } else {
            // A vector is one row, or as many rows of one element where a transform moves them.
            format!("[{}]", row.max(column))
        };
        (view.path(), format!("tensor {name}, element {element}"))
    }

    /// Decodes output rows `first..` into `out`, `[rows, n_in]`.
    ///
    /// # Errors
    /// As [`TensorView::read_at`].
    pub(super) fn read(&self, first: usize, out: &mut [f32], reading: &mut Reading) -> Result<()> {
        let parts = match &self.origin {
            Origin::Checkpoint(parts) => parts,
            Origin::Computed(values) => {
                out.copy_from_slice(values);
                return Ok(());
            }
        };
        let rows_per_part = self.n_rows / parts.len();
        let Reading { bytes, order } = reading;
        order.clear();
        order.extend((0..out.len() / self.n_in).map(|i| {
            let (part, row) = self.locate(parts.len(), first + i);
            (part * rows_per_part + row, i)
        }));
        order.sort_unstable();
        let follows = |&(a, _): &(usize, usize), &(b, _): &(usize, usize)| {
            b == a + 1 && !b.is_multiple_of(rows_per_part)
        };
        for run in order.chunk_by(follows) {
            let (part, row) = (run[0].0 / rows_per_part, run[0].0 % rows_per_part);
            let view = &parts[part].view;
            let row_bytes = self.n_in * view.dtype.element_bytes();
            bytes.resize(run.len() * row_bytes, 0);
            view.read_at((row * row_bytes) as u64, bytes)?;
            for (row, &(_, i)) in bytes.chunks_exact(row_bytes).zip(run) {
                decode_source(view.dtype, row, &mut out[i * self.n_in..][..self.n_in]);
            }
        }
        Ok(())
    }

    /// The part, and the row in it, that output row `row` is read from.
    fn locate(&self, n_parts: usize, row: usize) -> (usize, usize) {
        let rows_per_part = self.n_rows / n_parts;
        let (part, row) = (row / rows_per_part, row % rows_per_part);
        match self.transform {
            Transform::None => (part, row),
            Transform::RotaryPairs { n_head } => {
                let head_dim = rows_per_part / n_head;
                let (head, in_head) = (row / head_dim, row % head_dim);
                let (pair, half) = (in_head / 2, in_head % 2);
                (part, head * head_dim + half * (head_dim / 2) + pair)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(transform: Transform, n_rows: usize, n_parts: usize) -> Vec<(usize, usize)> {
        let rows = SourceRows { origin: Origin::Computed(Vec::new()), transform, n_rows, n_in: 1 };
        (0..n_rows).map(|row| rows.locate(n_parts, row)).collect()
    }

    #[test]
    fn rotary_rows_interleave_the_halves_of_each_head() {
        let rows: Vec<usize> =
            located(Transform::RotaryPairs { n_head: 2 }, 12, 1).into_iter().map(|(_, row)| row).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }

    #[test]
    fn stacked_parts_follow_each_other() {
        assert_eq!(located(Transform::None, 4, 2), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    }
}
