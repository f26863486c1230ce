//! The feed-forward part of a layer.

mod experts;
mod gated;

pub(in crate::model) use experts::{ExpertScratch, Experts};
pub(in crate::model) use gated::{Gated, GatedScratch};

use super::Stream;
use crate::error::Result;
use crate::model::compute::Compute;
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::weights::Matrix;

/// The feed-forward part of a layer.
#[derive(Debug)]
pub(in crate::model) enum Ffn {
    Gated(Gated),
    Experts(Experts),
}

/// The buffers of the feed-forward parts of all layers.
#[derive(Debug, Default)]
pub(in crate::model) struct FfnScratch {
    gated: Option<GatedScratch>,
    experts: Option<ExpertScratch>,
}

impl FfnScratch {
    /// Buffers for batches of `n_batch` tokens in any of `parts`, which have equal specs.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new<'a>(
        buffers: &mut Buffers,
        parts: impl Iterator<Item = &'a Ffn>,
        n_batch: usize,
    ) -> Result<Self> {
        let (mut gated, mut experts) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Ffn::Gated(part) => gated.push(part),
                Ffn::Experts(part) => experts.push(part),
            }
        }
        Ok(Self {
            gated: GatedScratch::new(buffers, &gated, n_batch)?,
            experts: ExpertScratch::new(buffers, &experts, n_batch)?,
        })
    }
}

impl Ffn {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        match self {
            Self::Gated(part) => part.input_formats(),
            Self::Experts(part) => part.input_formats(),
        }
    }

    /// Adds the part's output for the first `n` rows of `input` to `stream`.
    pub(in crate::model) fn step(
        &self,
        compute: Compute<'_>,
        input: &Inputs,
        n: usize,
        scratch: &mut FfnScratch,
        stream: &mut Stream,
    ) {
        match self {
            Self::Gated(part) => {
                let scratch = scratch.gated.as_mut().expect("the buffers were made for this part");
                part.step(compute, input, n, scratch, stream);
            }
            Self::Experts(part) => {
                let scratch = scratch.experts.as_mut().expect("the buffers were made for this part");
                part.step(compute, input, n, scratch, stream);
            }
        }
    }

    /// The matrices that every token is multiplied with.
    pub(in crate::model) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let (gated, router) = match self {
            Self::Gated(part) => (Some(part.matrices()), None),
            Self::Experts(part) => (None, Some(part.router())),
        };
        gated.into_iter().flatten().chain(router)
    }

    /// The matrices of which each token is multiplied with a part.
    pub(in crate::model) fn expert_matrices(&self) -> impl Iterator<Item = &Matrix> {
        let stacks = match self {
            Self::Gated(_) => None,
            Self::Experts(part) => Some(part.stacks()),
        };
        stacks.into_iter().flatten()
    }
}
