//! RWKV-7 (Peng et al. 2025).
//!
//! ```text
//! x_j = x + l_j (x' - x)     for j in r, w, k, v, a, g, where x' is the input of the position before
//! r, k, v = W_r x_r, W_k x_k, W_v x_v
//! w = exp(-e^(-1/2) sigmoid(w0 + W2 tanh(W1 x_w)));  a = sigmoid(a0 + A2 A1 x_a);  g = G2 sigmoid(G1 x_g)
//! v = v + (v' - v) sigmoid(v0 + V2 V1 x_v), where v' is the first layer's
//! c = k k_k, of unit length in each head;  k = k (1 + (a - 1) k_a)
//! o = rule with a decay for each row (`gguf_simd::ops`), which looks for -c and corrects by c a
//! y = W_o (g (norm(o) + (r . k r_k) v))
//! ```
//!
//! Between the products, rows are computed each by one thread; heads walk the positions of each sequence, a head on one
//! thread. The part behind it is in `channel_mix`.

mod scratch;

use gguf_simd::ops::Ops;

pub(in crate::model) use scratch::Rwkv7Scratch;

use super::channel_mix::{ChannelMix, sigmoid};
use super::row_heads::RowHeads;
use super::token_shift::{mix, remember};
use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::rows::Rows;
use crate::model::layer::stream::{Residual, Stream};
use crate::model::product::Product;
use crate::model::profile::Phase;
use crate::model::spec::layer::Rwkv7Spec;
use crate::model::weights::{Linear, Matrix};

/// `e^(-1/2)`: the greatest exponent of a decay.
const GREATEST_DECAY: f32 = 0.606_531;

/// The least length that keys are divided by.
const LEAST_LENGTH: f32 = 1e-12;

/// Vectors of a row that heads walk by: queries, decays, keys, what is looked for, what is corrected, values.
const N_WALKED: usize = 6;

/// A time mix, and the part behind it.
#[derive(Debug)]
pub(in crate::model) struct Rwkv7 {
    pub(in crate::model) spec: Rwkv7Spec,
    /// `[n_mix, n_embd]`: l of r, w, k, v, a and g.
    pub(in crate::model) lerp: Vec<f32>,
    /// `[n_embd, n_embd]`, as the next two.
    pub(in crate::model) receptance: Linear,
    pub(in crate::model) key: Linear,
    pub(in crate::model) value: Linear,
    pub(in crate::model) decay: Narrow,
    pub(in crate::model) rate: Narrow,
    /// Of the first layer's values; the first layer has none.
    pub(in crate::model) share: Option<Narrow>,
    /// `[rank, n_embd]` and `[n_embd, rank]`.
    pub(in crate::model) gate: Option<[Linear; 2]>,
    /// `[n_embd]`: k_k.
    pub(in crate::model) key_scale: Vec<f32>,
    /// `[n_embd]`: k_a.
    pub(in crate::model) key_rate: Vec<f32>,
    /// `[n_embd]`: r_k.
    pub(in crate::model) bonus: Vec<f32>,
    /// `[n_embd]`, of each head.
    pub(in crate::model) head_norm: Option<Norm>,
    /// `[n_embd, n_embd]`.
    pub(in crate::model) output: Linear,
    pub(in crate::model) channel: Option<ChannelMix>,
}

/// What makes a vector as long as the stream of one that is narrow: `bias + up f(down x)`.
#[derive(Debug)]
pub(in crate::model) struct Narrow {
    /// `[n_embd]`.
    pub(in crate::model) bias: Vec<f32>,
    /// `[rank, n_embd]`.
    pub(in crate::model) down: Linear,
    /// `[n_embd, rank]`.
    pub(in crate::model) up: Linear,
}

/// The products of a row of which a walked row is made.
struct Made<'a> {
    receptance: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    decay: &'a [f32],
    rate: &'a [f32],
    /// And the first layer's values.
    share: Option<(&'a [f32], &'a [f32])>,
}

impl Rwkv7 {
    /// Matrices of the mixtures, in their order: the narrow first ones among them.
    fn mixed(&self) -> impl Iterator<Item = (usize, &Linear)> {
        let gate = self.gate.as_ref().map(|[down, _]| (5, down));
        let share = self.share.as_ref().map(|share| (3, &share.down));
        let always = [
            (0, &self.receptance),
            (1, &self.decay.down),
            (2, &self.key),
            (3, &self.value),
            (4, &self.rate.down),
        ];
        always.into_iter().chain(share).chain(gate)
    }

    /// The formats of mixture `j`.
    fn formats(&self, j: usize) -> Formats {
        Formats::of(self.mixed().filter(|(of, _)| *of == j).map(|(_, linear)| &linear.matrix))
    }

    /// The second matrices of narrow vectors: of decays, rates, shares and gates.
    fn ups(&self) -> [Option<&Linear>; 4] {
        let share = self.share.as_ref().map(|share| &share.up);
        [Some(&self.decay.up), Some(&self.rate.up), share, self.gate.as_ref().map(|[_, up]| up)]
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        let mixed = self.mixed().map(|(_, linear)| linear);
        let channel = self.channel.iter().flat_map(ChannelMix::linears);
        let all = mixed.chain(self.ups().into_iter().flatten()).chain([&self.output]).chain(channel);
        all.map(|linear| &linear.matrix).collect()
    }

    /// Adds its output for `rows` to `stream` as `residual` says, then that of the part behind it, and updates what it
    /// remembers; `input` holds the normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        scratch: &mut Rwkv7Scratch,
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let (n, n_embd) = (rows.batch.n(), self.spec.n_embd);
        let input = input.floats(0..n);
        for (j, lerp) in self.lerp.chunks_exact(n_embd).enumerate() {
            mix((compute, rows), (input, lerp, None, 0), (&mut scratch.mixed[j], self.formats(j)));
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

    /// The products of the mixtures, and of what narrow ones become.
    fn project(&self, compute: Compute<'_>, n: usize, scratch: &mut Rwkv7Scratch) {
        let Rwkv7Scratch { mixed, receptance, keys, values, narrow, wide, .. } = scratch;
        let n_out = n * self.spec.n_embd;
        let of = |j: usize, linear: &'_ Linear| mixed[j].for_consumer(&linear.matrix, 0..n);
        let downs = [Some(&self.decay.down), Some(&self.rate.down), self.share.as_ref().map(|of| &of.down)];
        let downs = downs.into_iter().chain([self.gate.as_ref().map(|[down, _]| down)]);
        let mut products = [const { None }; 4];
        for (((product, linear), j), out) in
            products.iter_mut().zip(downs).zip([1, 4, 3, 5]).zip(&mut *narrow)
        {
            *product = linear.map(|linear| {
                out.set_n_in(linear.matrix.n_out());
                Product::of(linear, of(j, linear), out.floats_mut(0..n))
            });
        }
        let [decay, rate, share, gate] = products;
        compute.multiply_some([
            Some(Product::of(&self.receptance, of(0, &self.receptance), &mut receptance[..n_out])),
            Some(Product::of(&self.key, of(2, &self.key), &mut keys[..n_out])),
            Some(Product::of(&self.value, of(3, &self.value), &mut values[..n_out])),
            decay,
            rate,
            share,
            gate,
        ]);
        let ups = self.ups();
        for (i, (rows, up)) in narrow.iter_mut().zip(ups).enumerate() {
            let Some(up) = up else { continue };
            activate_narrow(compute, n, rows, Formats::of([&up.matrix]), i);
        }
        let mut outs = wide.iter_mut();
        let products = ups.map(|up| {
            let out = outs.next().expect("one for each");
            let (up, i) = (up?, 3 - outs.len());
            Some(Product::of(up, narrow[i].for_consumer(&up.matrix, 0..n), &mut out[..n_out]))
        });
        compute.multiply_some(products);
    }

    /// Makes what heads walk by, row by row.
    fn make_rows(&self, compute: Compute<'_>, n: usize, scratch: &mut Rwkv7Scratch) {
        let Rwkv7Scratch { receptance, keys, values, wide, walked, first_values, .. } = scratch;
        let n_embd = self.spec.n_embd;
        if self.spec.is_first {
            first_values[..n * n_embd].copy_from_slice(&values[..n * n_embd]);
        }
        let piece_len = compute.piece_len(n, 64 * n_embd);
        let rows = RowsMut { values: &mut walked[..n * N_WALKED * n_embd], width: N_WALKED * n_embd };
        let parts = pieces(rows, piece_len).enumerate();
        let ops = compute.kernels.ops();
        compute.for_each(64 * n * n_embd, parts, |(i, rows): (usize, RowsMut<'_, f32>)| {
            for (j, row) in rows.values.chunks_exact_mut(rows.width).enumerate() {
                let at = (i * piece_len + j) * n_embd..(i * piece_len + j + 1) * n_embd;
                let [decay, rate, share, _] = &wide;
                let made = Made {
                    receptance: &receptance[at.clone()],
                    key: &keys[at.clone()],
                    value: &values[at.clone()],
                    decay: &decay[at.clone()],
                    rate: &rate[at.clone()],
                    share: self.share.is_some().then(|| (&share[at.clone()], &first_values[at])),
                };
                self.make_row(ops, &made, row);
            }
        });
    }

    fn make_row(&self, ops: &Ops, made: &Made<'_>, row: &mut [f32]) {
        let n_embd = self.spec.n_embd;
        let mut vectors = row.chunks_exact_mut(n_embd);
        let [query, decays, key, look, correction, value] =
            core::array::from_fn(|_| vectors.next().expect("a row of six vectors"));
        query.copy_from_slice(made.receptance);
        for i in 0..n_embd {
            let exponent = GREATEST_DECAY * sigmoid(self.decay.bias[i] + made.decay[i]);
            decays[i] = libm::expf(-exponent);
            let (k, rate) = (made.key[i], sigmoid(self.rate.bias[i] + made.rate[i]));
            look[i] = k * self.key_scale[i];
            correction[i] = rate;
            key[i] = k * (1.0 + (rate - 1.0) * self.key_rate[i]);
            value[i] = made.value[i];
        }
        if let (Some(part), Some((share, first))) = (&self.share, made.share) {
            for i in 0..n_embd {
                value[i] += (first[i] - value[i]) * sigmoid(part.bias[i] + share[i]);
            }
        }
        let heads = look.chunks_exact_mut(self.spec.head_dim);
        for (look, correction) in heads.zip(correction.chunks_exact_mut(self.spec.head_dim)) {
            let mut squares = [0.0];
            ops.dots_f32(look, look, &mut squares);
            let length = squares[0].sqrt().max(LEAST_LENGTH);
            for (look, correction) in look.iter_mut().zip(correction) {
                let unit = *look / length;
                *correction *= unit;
                *look = -unit;
            }
        }
    }

    fn heads(&self) -> RowHeads {
        RowHeads {
            n_inner: self.spec.n_embd,
            head_dim: self.spec.head_dim,
            n_before: self.spec.shift_len(),
            n_vector: N_WALKED,
            query: 0,
            decay: 1,
            key: 2,
            look: 3,
            correction: 4,
            value: 5,
            reads_before: false,
        }
    }

    /// Norms the outputs of heads, adds the bonus of the position's own value, gates them, and brings them into the
    /// format of the output matrix.
    fn finish(&self, compute: Compute<'_>, n: usize, scratch: &mut Rwkv7Scratch) {
        let Rwkv7Scratch { walked, wide, outputs, spares, .. } = scratch;
        let Rwkv7Spec { n_embd, head_dim, .. } = self.spec;
        let n_row = N_WALKED * n_embd;
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_embd);
        let inputs = walked.chunks(piece_len * n_row).zip(wide[3].chunks(piece_len * n_embd));
        let parts = pieces(outputs.rows_mut(0..n), piece_len).zip(inputs);
        let ops = compute.kernels.ops();
        type Part<'a> = (InputRows<'a>, (&'a [f32], &'a [f32]));
        let body = |spare: &mut Vec<f32>, (mut outputs, (walked, gates)): Part<'_>| {
            let (normed, weighted) = spare[..2 * head_dim].split_at_mut(head_dim);
            let rows = walked.chunks_exact(n_row).zip(gates.chunks_exact(n_embd));
            for (output, (walked, gates)) in outputs.floats().chunks_exact_mut(n_embd).zip(rows) {
                let vector = |i: usize| &walked[i * n_embd..(i + 1) * n_embd];
                let (query, key, value) = (vector(0), vector(2), vector(5));
                for (head, output) in output.chunks_exact_mut(head_dim).enumerate() {
                    let at = head * head_dim..(head + 1) * head_dim;
                    if let Some(norm) = &self.head_norm {
                        norm.row(ops, output, at.start, normed);
                        output.copy_from_slice(normed);
                    }
                    let pairs = key[at.clone()].iter().zip(&self.bonus[at.clone()]);
                    weighted.iter_mut().zip(pairs).for_each(|(x, (key, bonus))| *x = key * bonus);
                    let mut bonus = [0.0];
                    ops.dots_f32(&query[at.clone()], weighted, &mut bonus);
                    ops.add_scaled(output, bonus[0], &value[at]);
                }
                if self.gate.is_some() {
                    output.iter_mut().zip(gates).for_each(|(output, gate)| *output *= gate);
                }
            }
            outputs.quantize(compute.kernels, formats);
        };
        compute.for_each_with(8 * n * n_embd, spares, parts, body);
    }
}

/// Activates narrow vectors of kind `kind`, and brings them into `formats`: decays by the hyperbolic tangent, gates by the
/// sigmoid, the others not at all.
fn activate_narrow(compute: Compute<'_>, n: usize, rows: &mut Inputs, formats: Formats, kind: usize) {
    let work = 8 * n * rows.n_in();
    let piece_len = compute.piece_len(n, 8 * rows.n_in());
    let ops = compute.kernels.ops();
    compute.for_each(work, pieces(rows.rows_mut(0..n), piece_len), |mut rows: InputRows<'_>| {
        match kind {
            // A soft cap of one is the tangent itself.
            0 => ops.softcap(rows.floats(), 1.0),
            3 => rows.floats().iter_mut().for_each(|x| *x = sigmoid(*x)),
            _ => {}
        }
        rows.quantize(compute.kernels, formats);
    });
}
