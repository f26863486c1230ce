//! The buffers of RWKV's layers.

use super::super::channel_mix::ChannelScratch;
use super::{N_WALKED, Rwkv7};
use crate::error::Result;
use crate::model::batch::Dimensions;
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::spec::layer::Rwkv7Spec;

/// Mixtures of an input with the one before, at most.
const MAX_MIXES: usize = 6;

/// The buffers of layers of RWKV-7, whose widths are alike.
#[derive(Debug)]
pub(in crate::model) struct Rwkv7Scratch {
    /// `[n_batch, n_embd]` each: mixtures with the position before.
    pub(super) mixed: Vec<Inputs>,
    /// `[n_batch, n_embd]`, as the next two.
    pub(super) receptance: Vec<f32>,
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    /// `[n_batch, rank]`: of decays, rates, shares and gates.
    pub(super) narrow: [Inputs; 4],
    /// `[n_batch, n_embd]`: what is made of them.
    pub(super) wide: [Vec<f32>; 4],
    /// `[n_batch, n_embd]`: the first layer's.
    pub(super) first_values: Vec<f32>,
    /// `[n_batch, 6 n_embd]`: what heads walk by.
    pub(super) walked: Vec<f32>,
    /// `[n_batch, n_embd]`.
    pub(super) outputs: Inputs,
    /// Of channel mixes.
    pub(super) channel: Option<ChannelScratch>,
    /// `[n_threads, 2 head_dim]`.
    pub(super) spares: Vec<Vec<f32>>,
}

impl Rwkv7Scratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[&Rwkv7],
        Dimensions { n_batch, n_threads, .. }: Dimensions,
    ) -> Result<Option<Self>> {
        let Some(Rwkv7Spec { n_embd, head_dim, .. }) = parts.first().map(|part| part.spec) else {
            return Ok(None);
        };
        let union = |of: &dyn Fn(&Rwkv7) -> Formats| {
            parts.iter().map(|part| of(part)).fold(Formats::default(), Formats::union)
        };
        let mixed =
            (0..MAX_MIXES).map(|j| Inputs::new(buffers, n_batch, n_embd, union(&|part| part.formats(j))));
        let mixed = mixed.collect::<Result<_>>()?;
        let mut narrow = |i: usize| {
            let ups = || parts.iter().filter_map(move |part| part.ups()[i]).map(|up| &up.matrix);
            let rank = ups().map(|up| up.n_in()).max().unwrap_or(1);
            Inputs::new(buffers, n_batch, rank, Formats::of(ups()))
        };
        let narrow = [narrow(0)?, narrow(1)?, narrow(2)?, narrow(3)?];
        let outputs = union(&|part| Formats::of([&part.output.matrix]));
        let outputs = Inputs::new(buffers, n_batch, n_embd, outputs)?;
        let channels: Vec<_> = parts.iter().filter_map(|part| part.channel.as_ref()).collect();
        let channel = ChannelScratch::new(buffers, &channels, (n_batch, n_embd))?;
        let mut rows = |n: usize| buffers.zeroed(0.0, n_batch, n);
        Ok(Some(Self {
            mixed,
            receptance: rows(n_embd)?,
            keys: rows(n_embd)?,
            values: rows(n_embd)?,
            narrow,
            wide: [rows(n_embd)?, rows(n_embd)?, rows(n_embd)?, rows(n_embd)?],
            first_values: rows(n_embd)?,
            walked: rows(N_WALKED * n_embd)?,
            outputs,
            channel,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, 2 * head_dim, 1)).collect::<Result<_>>()?,
        }))
    }
}
