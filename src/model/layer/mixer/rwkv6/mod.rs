//! RWKV-6 (Peng et al. 2024, "Eagle and Finch", section 4), and the form of it that takes the place of attention in models
//! of another kind (QRWKV6).
//!
//! ```text
//! y = x + l (x' - x), where x' is the input of the position before
//! x_j = x + (l_j + B_j tanh(A_j y)) (x' - x)     for j in w, k, v, r, g
//! r, k, v, g = W_r x_r, W_k x_k, W_v x_v, W_g x_g;  w = exp(-exp(w0 + W2 tanh(W1 x_w)))
//! S = w S + k v, a matrix for each head
//! o = norm(r S' + (r . u k) v) silu(g), where S' is the matrix before;  or
//! o = r S / sqrt(head_dim) sigmoid(g), of keys (1 - w) k
//! y = W_o o
//! ```
//!
//! Between the products, rows are computed each by one thread; heads walk the positions of each sequence, a head on one
//! thread. The part behind it is in `channel_mix`.

mod scratch;

use gguf_simd::ops::{Gate, Ops};

pub(in crate::model) use scratch::Rwkv6Scratch;

use super::channel_mix::ChannelMix;
use super::row_heads::RowHeads;
use super::rwkv7::Narrow;
use super::token_shift::{mix, remember};
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::Rows;
use crate::model::layer::stream::{Residual, Stream};
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::Rwkv6Spec;
use crate::model::weights::{Linear, Matrix, Stack};

/// Mixtures of an input with the one before: for decays, keys, values, queries and gates.
pub(super) const N_MIX: usize = 5;

/// Vectors of a row that heads walk by: queries, decays, keys, zeros, values.
const N_WALKED: usize = 5;

/// A time mix, and the part behind it.
#[derive(Debug)]
pub(in crate::model) struct Rwkv6 {
    pub(in crate::model) spec: Rwkv6Spec,
    /// `[n_embd]`: l.
    pub(in crate::model) lerp: Vec<f32>,
    /// `[N_MIX, n_embd]`: l of w, k, v, r and g.
    pub(in crate::model) lerps: Vec<f32>,
    /// `[rank, n_embd]` each: A of the same.
    pub(in crate::model) downs: Vec<Linear>,
    /// `[N_MIX, n_embd, rank]`: B of the same.
    pub(in crate::model) ups: Stack,
    pub(in crate::model) decay: Narrow,
    /// `[n_kv, n_embd]`, as the next.
    pub(in crate::model) key: Linear,
    pub(in crate::model) value: Linear,
    /// `[n_embd, n_embd]`, as the next.
    pub(in crate::model) receptance: Linear,
    pub(in crate::model) gate: Linear,
    /// `[n_embd]`, u, and the norm of heads; without, it is the second form.
    pub(in crate::model) bonus: Option<(Vec<f32>, Norm)>,
    /// `[n_embd, n_embd]`.
    pub(in crate::model) output: Linear,
    pub(in crate::model) channel: Option<ChannelMix>,
}

/// The products of a row of which a walked row is made.
struct Made<'a> {
    receptance: &'a [f32],
    decay: &'a [f32],
    /// `[n_kv]`, as the next.
    key: &'a [f32],
    value: &'a [f32],
}

impl Rwkv6 {
    /// Matrices of the mixtures, in their order.
    fn mixed(&self) -> [&Linear; N_MIX] {
        [&self.decay.down, &self.key, &self.value, &self.receptance, &self.gate]
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        let channel = self.channel.iter().flat_map(ChannelMix::linears);
        let own = self.downs.iter().chain(self.mixed()).chain([&self.decay.up, &self.output]);
        own.chain(channel).map(|linear| &linear.matrix).chain([&self.ups.matrix]).collect()
    }

    /// Adds its output for `rows` to `stream` as `residual` says, then that of the part behind it, and updates what it
    /// remembers; `input` holds the normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut Rwkv6Scratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let (n, n_embd) = (rows.batch.n(), self.spec.n_embd);
        let input = input.floats(0..n);
        let formats = Formats::of(self.downs.iter().map(|down| &down.matrix));
        mix((compute, rows), (input, &self.lerp, None, 0), (&mut scratch.mixed[0], formats));
        self.move_mixtures(compute, n, scratch);
        let Rwkv6Scratch { mixed, moved, .. } = scratch;
        let lerps = self.lerps.chunks_exact(n_embd).zip(self.mixed()).zip(moved);
        for (mixed, ((lerp, linear), moved)) in mixed.iter_mut().zip(lerps) {
            let formats = Formats::of([&linear.matrix]);
            mix((compute, rows), (input, lerp, Some(moved), 0), (mixed, formats));
        }
        remember(rows, input, (0, n_embd));
        self.project(compute, n, scratch);
        compute.enter(Phase::Attention);
        self.make_rows(compute, n, scratch);
        self.heads().walk(compute, rows, &scratch.walked, &mut scratch.outputs);
        compute.enter(Phase::Rest);
        self.finish(compute, n, scratch);
        let outputs = scratch.outputs.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
        if let (Some(channel), Some(scratch)) = (&self.channel, &mut scratch.channel) {
            channel.step((compute, rows), scratch, (residual, stream));
        }
    }

    /// What each mixture adds to its rate.
    fn move_mixtures(&self, compute: Compute<'_>, n: usize, scratch: &mut Rwkv6Scratch) {
        let Rwkv6Scratch { mixed, narrow, moved, .. } = scratch;
        let (n_embd, rank) = (self.spec.n_embd, self.spec.mix_rank);
        let work = N_MIX * n * n_embd * rank;
        let x = |linear: &Linear| mixed[0].for_consumer(&linear.matrix, 0..n);
        let products = self.downs.iter().zip(narrow.iter_mut()).map(|(down, out)| {
            out.set_n_in(rank);
            Product::of(down, x(down), out.floats_mut(0..n))
        });
        compute.multiply_all(work, products);
        let formats = Formats::of([&self.ups.matrix]);
        narrow.iter_mut().for_each(|rows| tangents(compute, n, (rows, formats)));
        let products = moved.iter_mut().zip(narrow.iter()).enumerate().map(|(j, (out, rows))| {
            let x = rows.for_consumer(&self.ups.matrix, 0..n);
            Product::of_expert(&self.ups, j, x, &mut out[..n * n_embd])
        });
        compute.multiply_all(work, products);
    }

    /// The products of the mixtures, and of what decays are made of.
    fn project(&self, compute: Compute<'_>, n: usize, scratch: &mut Rwkv6Scratch) {
        let Rwkv6Scratch { mixed, decay_narrow, decays, keys, values, receptance, gates, .. } = scratch;
        let (n_out, n_kv) = (n * self.spec.n_embd, n * self.spec.n_kv());
        let of = |j: usize, linear: &'_ Linear| mixed[j].for_consumer(&linear.matrix, 0..n);
        decay_narrow.set_n_in(self.spec.decay_rank);
        let [down, key, value, query, gate] = self.mixed();
        compute.multiply([
            Product::of(down, of(0, down), decay_narrow.floats_mut(0..n)),
            Product::of(key, of(1, key), &mut keys[..n_kv]),
            Product::of(value, of(2, value), &mut values[..n_kv]),
            Product::of(query, of(3, query), &mut receptance[..n_out]),
            Product::of(gate, of(4, gate), &mut gates[..n_out]),
        ]);
        let up = &self.decay.up;
        tangents(compute, n, (decay_narrow, Formats::of([&up.matrix])));
        let x = decay_narrow.for_consumer(&up.matrix, 0..n);
        compute.multiply([Product::of(up, x, &mut decays[..n_out])]);
    }

    /// Makes what heads walk by, row by row.
    fn make_rows(&self, compute: Compute<'_>, n: usize, scratch: &mut Rwkv6Scratch) {
        let Rwkv6Scratch { decays, keys, values, receptance, walked, .. } = scratch;
        let (n_embd, n_kv) = (self.spec.n_embd, self.spec.n_kv());
        let piece_len = compute.piece_len(n, 48 * n_embd);
        let rows = RowsMut { values: &mut walked[..n * N_WALKED * n_embd], width: N_WALKED * n_embd };
        let parts = pieces(rows, piece_len).enumerate();
        compute.for_each(48 * n * n_embd, parts, |(i, rows): (usize, RowsMut<'_, f32>)| {
            for (j, row) in (i * piece_len..).zip(rows.values.chunks_exact_mut(rows.width)) {
                let (at, at_kv) = (j * n_embd..(j + 1) * n_embd, j * n_kv..(j + 1) * n_kv);
                let made = Made {
                    receptance: &receptance[at.clone()],
                    decay: &decays[at],
                    key: &keys[at_kv.clone()],
                    value: &values[at_kv],
                };
                self.make_row(&made, row);
            }
        });
    }

    fn make_row(&self, made: &Made<'_>, row: &mut [f32]) {
        let Rwkv6Spec { n_embd, head_dim, .. } = self.spec;
        let mut vectors = row.chunks_exact_mut(n_embd);
        let [query, decays, key, zeros, value] =
            core::array::from_fn(|_| vectors.next().expect("a row of five vectors"));
        zeros.fill(0.0);
        for (i, decay) in decays.iter_mut().enumerate() {
            *decay = libm::expf(-libm::expf(self.decay.bias[i] + made.decay[i]));
        }
        let group = n_embd / self.spec.n_kv();
        let heads = key.chunks_exact_mut(head_dim).zip(value.chunks_exact_mut(head_dim));
        for (head, (key, value)) in heads.enumerate() {
            let at = head / group * head_dim..(head / group + 1) * head_dim;
            key.copy_from_slice(&made.key[at.clone()]);
            value.copy_from_slice(&made.value[at]);
        }
        if self.bonus.is_some() {
            query.copy_from_slice(made.receptance);
        } else {
            let scale = 1.0 / (head_dim as f32).sqrt();
            query.iter_mut().zip(made.receptance).for_each(|(query, r)| *query = r * scale);
            key.iter_mut().zip(decays).for_each(|(key, decay)| *key -= *key * *decay);
        }
    }

    /// Nothing is corrected, so that what is looked for is what queries find before the update.
    fn heads(&self) -> RowHeads {
        RowHeads {
            n_inner: self.spec.n_embd,
            head_dim: self.spec.head_dim,
            n_before: self.spec.shift_len(),
            n_vector: N_WALKED,
            query: 0,
            decay: 1,
            key: 2,
            look: 0,
            correction: 3,
            value: 4,
            reads_before: self.bonus.is_some(),
        }
    }

    /// Adds the bonus of the position's own value to the outputs of heads, norms and gates them, and brings them into the
    /// format of the output matrix.
    fn finish(&self, compute: Compute<'_>, n: usize, scratch: &mut Rwkv6Scratch) {
        let Rwkv6Scratch { walked, gates, outputs, spares, .. } = scratch;
        let n_embd = self.spec.n_embd;
        let n_row = N_WALKED * n_embd;
        let formats = Formats::of([&self.output.matrix]);
        let gate = if self.bonus.is_some() { Gate::Silu } else { Gate::Sigmoid };
        let piece_len = compute.piece_len(n, 8 * n_embd);
        let inputs = walked.chunks(piece_len * n_row).zip(gates.chunks(piece_len * n_embd));
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(inputs);
        let ops = compute.kernels.ops();
        type Part<'a> = (InputRows<'a>, (&'a [f32], &'a [f32]));
        let body = |spare: &mut Vec<f32>, (mut outputs, (walked, gates)): Part<'_>| {
            let spare = &mut spare[..n_embd];
            let rows = walked.chunks_exact(n_row).zip(gates.chunks_exact(n_embd));
            for (output, (walked, gates)) in outputs.floats().chunks_exact_mut(n_embd).zip(rows) {
                self.norm_heads(ops, walked, (output, spare));
                spare.copy_from_slice(output);
                ops.gated(gate, gates, spare, output);
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_embd, spares, parts, body);
    }

    /// Adds the bonus to a row of outputs, and norms its heads; `spare` is as long.
    fn norm_heads(&self, ops: &Ops, walked: &[f32], (output, spare): (&mut [f32], &mut [f32])) {
        let Rwkv6Spec { n_embd, head_dim, .. } = self.spec;
        let Some((bonus, norm)) = &self.bonus else { return };
        let vector = |i: usize| &walked[i * n_embd..(i + 1) * n_embd];
        let (query, key, value) = (vector(0), vector(2), vector(4));
        spare.iter_mut().zip(key.iter().zip(bonus)).for_each(|(x, (key, bonus))| *x = key * bonus);
        for (head, output) in output.chunks_exact_mut(head_dim).enumerate() {
            let at = head * head_dim..(head + 1) * head_dim;
            let mut weight = [0.0];
            ops.dots_f32(&query[at.clone()], &spare[at.clone()], &mut weight);
            ops.add_scaled(output, weight[0], &value[at.clone()]);
            norm.row(ops, output, at.start, &mut spare[at.clone()]);
            output.copy_from_slice(&spare[at]);
        }
    }
}

/// Brings the hyperbolic tangents of rows into `formats`: a soft cap of one is the tangent itself.
fn tangents(compute: Compute<'_>, n: usize, (rows, formats): (&mut Inputs, Formats)) {
    let work = 8 * n * rows.n_in();
    let piece_len = compute.piece_len(n, 8 * rows.n_in());
    let ops = compute.kernels.ops();
    compute.for_each(work, pieces(rows.rows_mut(0..n), piece_len), |mut rows: InputRows<'_>| {
        ops.softcap(rows.floats(), 1.0);
        rows.quantize(compute.kernels, formats);
    });
}
