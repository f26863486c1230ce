//! The channel mix: a feed-forward part that looks at the position before.

use gguf_simd::ops::Gate;

use super::{Rwkv7Scratch, mix, remember};
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, pieces};
use crate::model::inputs::{Formats, InputRows};
use crate::model::layer::norm::{Norm, norm_into};
use crate::model::layer::rows::Rows;
use crate::model::layer::stream::{Residual, Stream};
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
}

impl ChannelMix {
    /// Adds its output to `stream` as `residual` says. It remembers its last input behind that of the time mix.
    pub(super) fn step<P: BatchPart>(
        &self,
        (compute, rows): (Compute<'_>, &mut Rows<'_, P>),
        scratch: &mut Rwkv7Scratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let Rwkv7Scratch { mixed, normed, hidden, .. } = scratch;
        let Some(hidden) = hidden else { return };
        let (n, n_embd) = (rows.batch.n(), self.lerp.len());
        norm_into(Some(&self.norm), compute, stream.rows(n), Formats::default(), normed);
        let (normed, mixed) = (normed.floats(0..n), &mut mixed[0]);
        let formats = Formats::of([&self.key.matrix]);
        mix((compute, rows), (normed, &self.lerp, n_embd), (&mut *mixed, formats));
        remember(rows, normed, (n_embd, n_embd));
        let n_ff = self.key.matrix.n_out();
        let out = &mut hidden.products[..n * n_ff];
        compute.multiply([Product::of(&self.key, mixed.for_consumer(&self.key.matrix, 0..n), out)]);
        hidden.rows.set_n_in(n_ff);
        let formats = Formats::of([&self.value.matrix]);
        let piece_len = compute.piece_len(n, 4 * n_ff);
        let products = hidden.products.chunks(piece_len * n_ff);
        let parts = pieces(hidden.rows.rows_mut(0..n), piece_len).zip(products);
        compute.for_each(4 * n * n_ff, parts, |(mut rows, products): (InputRows<'_>, &[f32])| {
            rows.for_each(formats, |i, out| {
                compute.kernels.activated(Gate::ReluSquared, &products[i * n_ff..][..n_ff], out);
            });
        });
        let x = hidden.rows.for_consumer(&self.value.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.value, x));
    }
}
