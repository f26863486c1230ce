//! The feed-forward part of a layer.

mod dense;
mod experts;
mod gated;
mod router;
mod shared;
mod stacks;

pub(in crate::model) use dense::Dense;
pub(in crate::model) use experts::{ExpertScratch, Experts, Latent};
pub(in crate::model) use gated::{Gated, GatedScratch, Hiding};
pub(in crate::model) use router::Router;
pub(in crate::model) use shared::{Shared, SharedPart};
pub(in crate::model) use stacks::{Adjugate, ExpertStacks};

use experts::ExpertInputs;

use super::norm::{Norm, norm_into};
use super::stream::{Residual, Stream};
use crate::error::Result;
use crate::model::compute::Compute;
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::weights::Matrix;

/// The feed-forward part of a layer.
#[derive(Debug)]
pub(in crate::model) enum Ffn {
    Dense(Dense),
    Gated(Gated),
    Experts(Box<Experts>),
    GatedAndExperts(Box<GatedAndExperts>),
    None,
}

/// A gated part and experts, with norms of their own.
#[derive(Debug)]
pub(in crate::model) struct GatedAndExperts {
    pub(in crate::model) gated: Gated,
    /// Of what the gated part adds.
    pub(in crate::model) gated_residual: Residual,
    /// Of the stream, for the experts.
    pub(in crate::model) expert_norm: Norm,
    /// Of the stream, for their router.
    pub(in crate::model) router_norm: Norm,
    pub(in crate::model) experts: Experts,
    /// Of what the experts add.
    pub(in crate::model) expert_residual: Residual,
}

/// What a part needs of the stream that the layer's mixer has not added to.
#[derive(Clone, Copy)]
pub(in crate::model) struct Early<'a> {
    pub(in crate::model) norm: Option<&'a Norm>,
    pub(in crate::model) formats: Formats,
}

/// The buffers of the feed-forward parts of all layers.
#[derive(Debug, Default)]
pub(in crate::model) struct FfnScratch {
    gated: Option<GatedScratch>,
    experts: Option<ExpertScratch>,
    /// `[n_batch, n_embd]`: what experts beside a gated part get, and what their router gets.
    expert_inputs: Option<[Inputs; 2]>,
}

impl FfnScratch {
    /// Buffers for batches of `n_batch` tokens of width `n_embd` in any of `parts`.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new<'a>(
        buffers: &mut Buffers,
        parts: impl Iterator<Item = &'a Ffn>,
        n_batch: usize,
        n_embd: usize,
    ) -> Result<Self> {
        let (mut downs, mut experts, mut beside) = (Vec::new(), Vec::new(), Formats::default());
        let mut has_beside = false;
        for part in parts {
            let of_experts = match part {
                Ffn::None => None,
                Ffn::Dense(part) => {
                    downs.push(&part.down.matrix);
                    None
                }
                Ffn::Gated(part) => {
                    downs.push(&part.down.matrix);
                    None
                }
                Ffn::Experts(part) => Some(&**part),
                Ffn::GatedAndExperts(part) => {
                    downs.push(&part.gated.down.matrix);
                    beside = beside.union(part.experts.input_formats());
                    has_beside = true;
                    Some(&part.experts)
                }
            };
            if let Some(part) = of_experts {
                downs.extend(part.shared.as_ref().map(|shared| shared.part.down()));
                experts.push(part);
            }
        }
        let n_ff = downs.iter().map(|down| down.n_in()).max();
        let gated = n_ff.map(|n_ff| GatedScratch::new(buffers, n_batch, n_ff, Formats::of(downs)));
        Ok(Self {
            gated: gated.transpose()?,
            experts: ExpertScratch::new(buffers, &experts, n_batch)?,
            expert_inputs: if has_beside {
                let mut inputs = || Inputs::new(buffers, n_batch, n_embd, beside);
                Some([inputs()?, inputs()?])
            } else {
                None
            },
        })
    }
}

impl Ffn {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        match self {
            Self::Dense(part) => Formats::of([&part.up.matrix]),
            Self::Gated(part) => part.input_formats(),
            Self::Experts(part) => part.input_formats(),
            Self::GatedAndExperts(part) => part.gated.input_formats(),
            Self::None => Formats::default(),
        }
    }

    /// What it needs of the stream that the layer's mixer has not added to, if it looks at that.
    pub(in crate::model) fn early(&self) -> Option<Early<'_>> {
        match self {
            Self::Experts(part) if part.router.spec.sees_stream || part.early_norm.is_some() => {
                Some(Early { norm: part.early_norm.as_ref(), formats: Formats::of([&part.scores.matrix]) })
            }
            _ => None,
        }
    }

    /// Adds the part's output for the first `n` rows of `input` to `stream`, as `residual` says. `early` holds what it
    /// looks at of the stream that the layer's mixer has not added to.
    pub(in crate::model) fn step(
        &self,
        compute: Compute<'_>,
        (input, early, n): (&Inputs, Option<&Inputs>, usize),
        scratch: &mut FfnScratch,
        residual: &Residual,
        stream: &mut Stream,
    ) {
        const MADE: &str = "the buffers were made for this part";
        let FfnScratch { gated, experts, expert_inputs } = scratch;
        match self {
            Self::None => {}
            Self::Dense(part) => stream.add(compute, n, residual, |sum| {
                part.step(compute, input, n, gated.as_mut().expect(MADE), sum);
            }),
            Self::Gated(part) => stream.add(compute, n, residual, |sum| {
                part.step(compute, input, n, gated.as_mut().expect(MADE), sum);
            }),
            Self::Experts(part) => stream.add(compute, n, residual, |sum| {
                let early_if = |does: bool| early.filter(|_| does).unwrap_or(input);
                let is_normed = part.early_norm.is_some();
                let inputs = ExpertInputs {
                    router: early_if(part.router.spec.sees_stream || is_normed),
                    experts: early_if(is_normed),
                    shared: input,
                };
                part.step(compute, inputs, n, (experts.as_mut().expect(MADE), gated.as_mut()), sum);
            }),
            Self::GatedAndExperts(part) => {
                // The experts get the stream before the gated part has added to it.
                let [beside, for_router] = expert_inputs.as_mut().expect(MADE);
                let formats = part.experts.input_formats();
                norm_into(Some(&part.expert_norm), compute, stream.rows(n), formats, beside);
                norm_into(Some(&part.router_norm), compute, stream.rows(n), formats, for_router);
                stream.add_all(compute, n, residual, |sums| {
                    sums.add(compute, &part.gated_residual, |sum| {
                        part.gated.step(compute, input, n, gated.as_mut().expect(MADE), sum);
                    });
                    sums.add(compute, &part.expert_residual, |sum| {
                        let scratch = (experts.as_mut().expect(MADE), gated.as_mut());
                        let inputs = ExpertInputs { router: for_router, experts: beside, shared: beside };
                        part.experts.step(compute, inputs, n, scratch, sum);
                    });
                });
            }
        }
    }

    /// The matrices that every token is multiplied with.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        match self {
            Self::Dense(part) => vec![&part.up.matrix, &part.down.matrix],
            Self::Gated(part) => part.matrices().to_vec(),
            Self::Experts(part) => part.matrices().collect(),
            Self::GatedAndExperts(part) => {
                part.gated.matrices().into_iter().chain(part.experts.matrices()).collect()
            }
            Self::None => Vec::new(),
        }
    }

    /// The matrices of which each token is multiplied with a part.
    pub(in crate::model) fn expert_matrices(&self) -> Vec<&Matrix> {
        match self {
            Self::Dense(_) | Self::Gated(_) | Self::None => Vec::new(),
            Self::Experts(part) => part.expert_matrices().collect(),
            Self::GatedAndExperts(part) => part.experts.expert_matrices().collect(),
        }
    }
}
