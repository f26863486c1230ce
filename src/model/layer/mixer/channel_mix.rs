//! The channel mix of RWKV: a feed-forward part that looks at the position before.

use gguf_simd::ops::Gate;

use super::token_shift::{mix, remember};
use crate::error::Result;
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::{Norm, norm_into};
use crate::model::layer::rows::Rows;
use crate::model::layer::stream::{Residual, Stream};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::weights::Linear;

/// A channel mix: `value(relu(key(x))^2)` of an input that is mixed with the one before.
#[derive(Debug)]
pub(in crate::model) struct ChannelMix {
    pub(in crate::model) norm: Norm,
    /// `[n_embd]`.
    pub(in crate::model) lerp: Vec<f32>,
    /// `[n_ff, n_embd]`.
    pub(in crate::model) key: Linear,
    /// `[n_embd, n_ff]`.
    pub(in crate::model) value: Linear,
    /// What multiplies that, as RWKV-6 has it.
    pub(in crate::model) receptance: Option<Receptance>,
}

/// The sigmoid of a product, whose input is mixed with the one before at its own rate.
#[derive(Debug)]
pub(in crate::model) struct Receptance {
    /// `[n_embd]`.
    pub(in crate::model) lerp: Vec<f32>,
    /// `[n_embd, n_embd]`.
    pub(in crate::model) linear: Linear,
}

/// The buffers of the channel mixes of all layers, whose widths are alike.
#[derive(Debug)]
pub(super) struct ChannelScratch {
    /// `[n_batch, n_embd]`: inputs before they are mixed.
    normed: Inputs,
    /// `[n_batch, n_embd]`.
    mixed: Inputs,
    /// `[n_batch, n_ff]`.
    products: Vec<f32>,
    /// `[n_batch, n_ff]`: activated.
    hidden: Inputs,
    /// `[n_batch, n_embd]`: outputs and what multiplies them, if something does.
    gated: [Vec<f32>; 2],
}

impl ChannelScratch {
    /// Buffers for batches of `n_batch` streams of `n_embd` elements in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(
        buffers: &mut Buffers,
        parts: &[&ChannelMix],
        (n_batch, n_embd): (usize, usize),
    ) -> Result<Option<Self>> {
        let Some(n_ff) = parts.iter().map(|part| part.value.matrix.n_in()).max() else { return Ok(None) };
        let receptances = || parts.iter().filter_map(|part| part.receptance.as_ref());
        let first = parts.iter().map(|part| &part.key).chain(receptances().map(|of| &of.linear));
        let first = Formats::of(first.map(|linear| &linear.matrix));
        let last = Formats::of(parts.iter().map(|part| &part.value.matrix));
        let n_gated = if receptances().next().is_some() { n_batch } else { 0 };
        Ok(Some(Self {
            normed: Inputs::new(buffers, n_batch, n_embd, Formats::default())?,
            mixed: Inputs::new(buffers, n_batch, n_embd, first)?,
            products: buffers.zeroed(0.0, n_batch, n_ff)?,
            hidden: Inputs::new(buffers, n_batch, n_ff, last)?,
            gated: [buffers.zeroed(0.0, n_gated, n_embd)?, buffers.zeroed(0.0, n_gated, n_embd)?],
        }))
    }
}

impl ChannelMix {
    /// What it multiplies with.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        [&self.key, &self.value].into_iter().chain(self.receptance.as_ref().map(|of| &of.linear))
    }

    /// Adds its output to `stream` as `residual` says. It remembers its last input behind that of the time mix.
    pub(super) fn step<P: BatchPart>(
        &self,
        (compute, rows): (Compute<'_>, &mut Rows<'_, P>),
        scratch: &mut ChannelScratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let ChannelScratch { normed, mixed, products, hidden, gated: [outputs, gates] } = scratch;
        let (n, n_embd) = (rows.batch.n(), self.lerp.len());
        norm_into(Some(&self.norm), compute, stream.rows(n), Formats::default(), normed);
        let normed = normed.floats(0..n);
        if let Some(Receptance { lerp, linear }) = &self.receptance {
            let formats = Formats::of([&linear.matrix]);
            mix((compute, rows), (normed, lerp, None, n_embd), (&mut *mixed, formats));
            let out = &mut gates[..n * n_embd];
            compute.multiply([Product::of(linear, mixed.for_consumer(&linear.matrix, 0..n), out)]);
        }
        let formats = Formats::of([&self.key.matrix]);
        mix((compute, rows), (normed, &self.lerp, None, n_embd), (&mut *mixed, formats));
        remember(rows, normed, (n_embd, n_embd));
        let n_ff = self.key.matrix.n_out();
        let out = &mut products[..n * n_ff];
        compute.multiply([Product::of(&self.key, mixed.for_consumer(&self.key.matrix, 0..n), out)]);
        hidden.set_n_in(n_ff);
        let formats = Formats::of([&self.value.matrix]);
        let piece_len = compute.piece_len(n, 4 * n_ff);
        let parts = pieces(hidden.rows_mut(0..n), piece_len).zip(products.chunks(piece_len * n_ff));
        compute.for_each(4 * n * n_ff, parts, |(mut rows, products): (InputRows<'_>, &[f32])| {
            rows.for_each(formats, |i, out| {
                compute.kernels.activated(Gate::ReluSquared, &products[i * n_ff..][..n_ff], out);
            });
        });
        let x = hidden.for_consumer(&self.value.matrix, 0..n);
        if self.receptance.is_none() {
            return stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.value, x));
        }
        compute.multiply([Product::of(&self.value, x, &mut outputs[..n * n_embd])]);
        stream.add(compute, n, residual, |mut sum| {
            let piece_len = compute.piece_len(n, 16 * n_embd);
            let gated = outputs.chunks(piece_len * n_embd).zip(gates.chunks(piece_len * n_embd));
            let parts = pieces(sum.rows_mut(n_embd), piece_len).zip(gated);
            type Part<'a> = (RowsMut<'a, f32>, (&'a [f32], &'a [f32]));
            compute.for_each(16 * n * n_embd, parts, |(sums, (outputs, gates)): Part<'_>| {
                for ((sum, output), gate) in sums.values.iter_mut().zip(outputs).zip(gates) {
                    *sum += sigmoid(*gate) * output;
                }
            });
        });
    }
}

/// The sigmoid, the same on every CPU.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}
