//! The buffers of recurrent mixers.

use crate::error::Result;
use crate::model::batch::Dimensions;
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::weights::Matrix;

/// The buffers of recurrent mixers, whose layers may differ.
#[derive(Debug)]
pub(in crate::model) struct RecurrentScratch {
    /// `[n_batch, n_projected]`: products of the input.
    pub(super) projected: Vec<f32>,
    /// `[n_batch, n_convolved]`.
    pub(super) convolved: Vec<f32>,
    /// `[n_batch, n_gate]`: what gates the outputs.
    pub(super) gate: Vec<f32>,
    /// `[n_batch, n_scalars]`: products of which there is one for each head.
    pub(super) scalars: Vec<f32>,
    /// `[n_batch, n_scalars]`: what they become.
    pub(super) gates: Vec<f32>,
    /// `[n_batch, n_out]`.
    pub(super) outputs: Inputs,
    /// `[n_threads, n_convolved or n_out]`: a row while it is computed.
    pub(super) spares: Vec<Vec<f32>>,
}

/// What a recurrent mixer needs buffers for: elements of a row of each.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct RecurrentNeeds<'a> {
    pub(in crate::model) n_projected: usize,
    pub(in crate::model) n_convolved: usize,
    pub(in crate::model) n_gate: usize,
    pub(in crate::model) n_scalars: usize,
    pub(in crate::model) n_out: usize,
    /// What outputs are quantised for.
    pub(in crate::model) output: &'a Matrix,
}

impl RecurrentScratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[RecurrentNeeds<'_>],
        dimensions: Dimensions,
    ) -> Result<Option<Self>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let Dimensions { n_batch, n_threads, .. } = dimensions;
        let most = |of: fn(&RecurrentNeeds<'_>) -> usize| parts.iter().map(of).max().unwrap_or_default();
        let n_row = most(|part| part.n_convolved).max(most(|part| part.n_out));
        let mut rows = |n| buffers.zeroed(0.0, n_batch, n);
        Ok(Some(Self {
            projected: rows(most(|part| part.n_projected))?,
            convolved: rows(most(|part| part.n_convolved))?,
            gate: rows(most(|part| part.n_gate))?,
            scalars: rows(most(|part| part.n_scalars))?,
            gates: rows(most(|part| part.n_scalars))?,
            outputs: Inputs::new(
                buffers,
                n_batch,
                most(|part| part.n_out),
                Formats::of(parts.iter().map(|part| part.output)),
            )?,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, n_row, 1)).collect::<Result<_>>()?,
        }))
    }
}
