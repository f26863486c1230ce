//! Floats that lie on grids already, as quantisation-aware training leaves them.

use gguf_simd::BlockType;

use super::{Origin, Reading, SourceRows};
use crate::checkpoint::SourceType;
use crate::convert::stored::Stored;
use crate::error::Result;
use crate::model::arch::ValueMap;
use crate::quantize::{STEP, Step, find_grids};

/// Rows of a tensor that are looked at before all are.
const SAMPLED_ROWS: usize = 8;

/// Rows looked at together.
const ROWS_AT_A_TIME: usize = 64;

/// Levels to each side of the finest grid that is looked for: eight bits.
const MOST_LEVELS: u32 = 128;

impl SourceRows<'_> {
    /// Finds out whether the rows are floats that lie on grids; some rows of a tensor tell for all, since no float
    /// does by chance.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(in crate::convert) fn look_for_grids(&mut self) -> Result<()> {
        // For a look at what there is, rows are not worth the way.
        if self.is_glimpsed() {
            return Ok(());
        }
        if self.plain_type().is_none() || self.n_rows < 2 || !self.n_in.is_multiple_of(STEP) {
            return Ok(());
        }
        let mut row = vec![0.0; self.n_in];
        let (mut reading, mut has_weights) = (Reading::default(), false);
        for first in (0..self.n_rows).step_by(self.n_rows.div_ceil(SAMPLED_ROWS)) {
            self.read(first, &mut row, &mut reading)?;
            has_weights |= row.iter().any(|x| *x != 0.0);
            if self.grids_of(&row, &mut Vec::new()).is_none() {
                return Ok(());
            }
        }
        self.is_on_grids = has_weights;
        Ok(())
    }

    /// Whether [`Self::look_for_grids`] found some.
    pub(in crate::convert) fn is_on_grids(&self) -> bool {
        self.is_on_grids
    }

    /// Whether the rows are plain elements, or computed, so that no decoder of packed ones has a part in them; grids
    /// that were found count as packed.
    pub(in crate::convert) fn is_plain(&self) -> bool {
        let is_packed = |stored: &Stored<'_>| matches!(stored, Stored::Packed(_));
        match &self.origin {
            Origin::Checkpoint(parts) => {
                !self.is_on_grids && !parts.iter().any(|part| is_packed(&part.stored))
            }
            Origin::Mxfp4 { .. } => false,
            Origin::Computed(_) | Origin::Blocks(_) => true,
        }
    }

    /// The sum of the squared errors that rounding weights to the grids `steps` makes: evenly spread between levels,
    /// they are a twelfth of a squared step on average. None is known of floats that have been found on grids.
    pub(in crate::convert) fn noise_of(&self, steps: &[Step]) -> f64 {
        if self.is_on_grids {
            return 0.0;
        }
        let squares = steps.iter().map(|step| f64::from(step.scale) * f64::from(step.scale));
        squares.sum::<f64>() * STEP as f64 / 12.0
    }

    /// The type of the floats, if they are of one and are as the source has them.
    fn plain_type(&self) -> Option<SourceType> {
        let Origin::Checkpoint(parts) = &self.origin else { return None };
        let type_of = |stored: &Stored<'_>| match stored {
            Stored::Plain(view) if view.dtype.is_plain_float() => Some(view.dtype),
            _ => None,
        };
        let first = type_of(&parts.first()?.stored)?;
        let is_one = parts.iter().all(|part| type_of(&part.stored) == Some(first));
        (is_one && self.values == ValueMap::Same).then_some(first)
    }

    fn grids_of(&self, row: &[f32], steps: &mut Vec<Step>) -> Option<u32> {
        find_grids(row, self.plain_type()?, MOST_LEVELS, steps)
    }

    /// Puts the grids of `rows` into `steps`; none if not all of them lie on one.
    pub(super) fn find_grids(&self, rows: &[f32], steps: &mut Vec<Step>) {
        steps.clear();
        if rows.chunks_exact(self.n_in).any(|row| self.grids_of(row, steps).is_none()) {
            steps.clear();
        }
    }

    /// The block type that holds the levels of all rows; `None` if they lie on no grids.
    pub(super) fn type_of_grids(&self) -> Result<Option<BlockType>> {
        if !self.is_on_grids {
            return Ok(None);
        }
        let (mut rows, mut reading) = (Vec::new(), Reading::default());
        let mut levels = 1;
        for first in (0..self.n_rows).step_by(ROWS_AT_A_TIME) {
            rows.resize(ROWS_AT_A_TIME.min(self.n_rows - first) * self.n_in, 0.0);
            self.read(first, &mut rows, &mut reading)?;
            for row in rows.chunks_exact(self.n_in) {
                match self.grids_of(row, &mut Vec::new()) {
                    Some(of_row) => levels = levels.max(of_row),
                    None => return Ok(None),
                }
            }
        }
        let types: &[BlockType] = match levels {
            1 => &[BlockType::TQ1_0, BlockType::Q2_0, BlockType::Q4_0],
            2..=8 => &[BlockType::Q4_0],
            9..=16 => &[BlockType::Q5_0],
            _ => &[BlockType::Q8_0],
        };
        Ok(types.iter().copied().find(|ty| self.n_in.is_multiple_of(ty.block_len())))
    }
}
