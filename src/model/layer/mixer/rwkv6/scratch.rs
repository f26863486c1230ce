//! The buffers of the layers of RWKV-6.

use super::super::channel_mix::ChannelScratch;
use super::{N_MIX, N_WALKED, Rwkv6};
use crate::error::Result;
use crate::model::batch::Dimensions;
use crate::model::inputs::{Formats, Inputs};
use crate::model::memory::Buffers;
use crate::model::spec::layer::Rwkv6Spec;

/// The buffers of layers of RWKV-6, whose widths are alike.
#[derive(Debug)]
pub(in crate::model) struct Rwkv6Scratch {
    /// `[n_batch, n_embd]` each: mixtures with the position before; the first is also that of which the others' rates
    /// are made.
    pub(super) mixed: Vec<Inputs>,
    /// `[n_batch, rank]` each: what mixtures are moved by, before it is made wide.
    pub(super) narrow: Vec<Inputs>,
    /// `[n_batch, n_embd]` each: what is added to their rates.
    pub(super) moved: Vec<Vec<f32>>,
    /// `[n_batch, rank]`: of decays.
    pub(super) decay_narrow: Inputs,
    /// `[n_batch, n_embd]`.
    pub(super) decays: Vec<f32>,
    /// `[n_batch, n_kv]`, as the next.
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    /// `[n_batch, n_embd]`, as the next.
    pub(super) receptance: Vec<f32>,
    pub(super) gates: Vec<f32>,
    /// `[n_batch, 5 n_embd]`: what heads walk by.
    pub(super) walked: Vec<f32>,
    /// `[n_batch, n_embd]`.
    pub(super) outputs: Inputs,
    /// Of channel mixes.
    pub(super) channel: Option<ChannelScratch>,
    /// `[n_threads, n_embd]`.
    pub(super) spares: Vec<Vec<f32>>,
}

impl Rwkv6Scratch {
    /// Buffers for batches of these dimensions in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[&Rwkv6],
        Dimensions { n_batch, n_threads, .. }: Dimensions,
    ) -> Result<Option<Self>> {
        let Some(spec) = parts.first().map(|part| part.spec) else { return Ok(None) };
        let Rwkv6Spec { n_embd, mix_rank, decay_rank, .. } = spec;
        let downs = Formats::of(parts.iter().flat_map(|part| &part.downs).map(|down| &down.matrix));
        let mixed = (0..N_MIX).map(|j| {
            let own = Formats::of(parts.iter().map(|part| &part.mixed()[j].matrix));
            let formats = if j == 0 { own.union(downs) } else { own };
            Inputs::new(buffers, n_batch, n_embd, formats)
        });
        let mixed = mixed.collect::<Result<_>>()?;
        let ups = Formats::of(parts.iter().map(|part| &part.ups.matrix));
        let narrow =
            (0..N_MIX).map(|_| Inputs::new(buffers, n_batch, mix_rank, ups)).collect::<Result<_>>()?;
        let of_decays = Formats::of(parts.iter().map(|part| &part.decay.up.matrix));
        let decay_narrow = Inputs::new(buffers, n_batch, decay_rank, of_decays)?;
        let outputs = Formats::of(parts.iter().map(|part| &part.output.matrix));
        let outputs = Inputs::new(buffers, n_batch, n_embd, outputs)?;
        let channels: Vec<_> = parts.iter().filter_map(|part| part.channel.as_ref()).collect();
        let channel = ChannelScratch::new(buffers, &channels, (n_batch, n_embd))?;
        let mut rows = |n: usize| buffers.zeroed(0.0, n_batch, n);
        Ok(Some(Self {
            mixed,
            narrow,
            moved: (0..N_MIX).map(|_| rows(n_embd)).collect::<Result<_>>()?,
            decay_narrow,
            decays: rows(n_embd)?,
            keys: rows(spec.n_kv())?,
            values: rows(spec.n_kv())?,
            receptance: rows(n_embd)?,
            gates: rows(n_embd)?,
            walked: rows(N_WALKED * n_embd)?,
            outputs,
            channel,
            spares: (0..n_threads).map(|_| buffers.zeroed(0.0, n_embd, 1)).collect::<Result<_>>()?,
        }))
    }
}
