//! The routed feed-forward part: each token goes through a few of many experts.
//!
//! Tokens are sorted by expert, so that an expert's weights are read once per batch; the outputs are added
//! in the order of each token's own choice, which the batch does not change. What all tokens go through is
//! added before them.

use gguf_simd::ops::Gate;

use super::gated::GatedScratch;
use super::router::{Choice, Router};
use super::shared::Shared;
use crate::error::Result;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::stream::Sum;
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::weights::{Linear, Matrix, Stack};

/// Several parts, of which each token goes through a few.
#[derive(Debug)]
pub(in crate::model) struct Experts {
    /// Experts each token goes through.
    pub(in crate::model) n_used: usize,
    pub(in crate::model) activation: Gate,
    /// `[n_expert, n_embd]`.
    pub(in crate::model) scores: Linear,
    pub(in crate::model) router: Router,
    /// What brings inputs into the experts' own space and outputs back, if they have one: then its width is their
    /// `n_embd` below.
    pub(in crate::model) latent: Option<Latent>,
    /// `[n_expert, n_ff, n_embd]`; `None` for plain parts.
    pub(in crate::model) gate: Option<Stack>,
    /// `[n_expert, n_ff, n_embd]`.
    pub(in crate::model) up: Stack,
    /// `[n_expert, n_embd, n_ff]`.
    pub(in crate::model) down: Stack,
    /// What every token goes through as well.
    pub(in crate::model) shared: Option<Shared>,
}

/// The matrices between the stream and the experts' own space.
#[derive(Debug)]
pub(in crate::model) struct Latent {
    /// `[n_latent, n_stream]`.
    pub(in crate::model) down: Linear,
    /// `[n_stream, n_latent]`.
    pub(in crate::model) up: Linear,
}

/// The buffers of routing. A *slot* is a pair of a token and one of its experts; slots are sorted by
/// expert.
#[derive(Debug)]
pub(in crate::model) struct ExpertScratch {
    /// `[n_batch, n_expert]`.
    scores: Vec<f32>,
    /// `[n_batch, n_expert]`: room for a choice.
    spare: Vec<f32>,
    /// `[n_batch, n_used]`.
    choices: Vec<Choice>,
    /// `[n_expert + 1]`: expert `e` has the slots `starts[e]..starts[e + 1]`.
    starts: Vec<usize>,
    /// `[n_batch * n_used]`: the token of each slot, and what its input is multiplied with.
    tokens: Vec<(usize, f32)>,
    /// `[n_batch * n_used, n_embd]`: the input of each slot.
    inputs: Inputs,
    /// The experts' own, a row for each slot.
    gated: GatedScratch,
    /// `[n_batch * n_used, n_embd]`: the output of each slot.
    outputs: Vec<f32>,
    /// `[n_batch, n_latent]`: what experts with a space of their own get, and what they give.
    latent: Option<[Inputs; 2]>,
}

impl ExpertScratch {
    /// Buffers for batches of `n_batch` tokens in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(buffers: &mut Buffers, parts: &[&Experts], n_batch: usize) -> Result<Option<Self>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let most = |of: &dyn Fn(&Experts) -> usize| parts.iter().map(|part| of(part)).max().unwrap_or(0);
        let n_slots = n_batch * most(&|part| part.n_used);
        let n_expert = most(&Experts::n_expert);
        let inputs = Formats::of(parts.iter().flat_map(|part| part.first()).map(|stack| &stack.matrix));
        let hidden = Formats::of(parts.iter().map(|part| &part.down.matrix));
        let ups: Vec<_> = parts.iter().filter_map(|part| Some(&part.latent.as_ref()?.up.matrix)).collect();
        let latent = ups.iter().map(|up| up.n_in()).max().map(|n_latent| {
            let mut rows = |formats| Inputs::new(buffers, n_batch, n_latent, formats);
            Ok::<_, crate::Error>([rows(Formats::default())?, rows(Formats::of(ups.iter().copied()))?])
        });
        Ok(Some(Self {
            scores: buffers.zeroed(0.0, n_batch, n_expert)?,
            spare: buffers.zeroed(0.0, n_batch, n_expert)?,
            choices: buffers.zeroed(Choice::default(), n_slots, 1)?,
            starts: buffers.zeroed(0, n_expert + 1, 1)?,
            tokens: buffers.zeroed((0, 1.0), n_slots, 1)?,
            inputs: Inputs::new(buffers, n_slots, most(&|part| part.up.matrix.n_in()), inputs)?,
            gated: GatedScratch::new(buffers, n_slots, most(&|part| part.up.n_out), hidden)?,
            outputs: buffers.zeroed(0.0, n_slots, most(&|part| part.down.n_out))?,
            latent: latent.transpose()?,
        }))
    }

    /// Gives every choice of the first `n` tokens its slot.
    fn assign_slots(&mut self, n: usize, n_used: usize, n_expert: usize) {
        let choices = &mut self.choices[..n * n_used];
        let starts = &mut self.starts[..=n_expert];
        starts.fill(0);
        for choice in choices.iter() {
            starts[choice.expert + 1] += 1;
        }
        for e in 1..starts.len() {
            starts[e] += starts[e - 1];
        }
        for (i, choice) in choices.iter_mut().enumerate() {
            let next = &mut starts[choice.expert];
            choice.slot = *next;
            self.tokens[*next] = (i / n_used, choice.weight);
            *next += 1;
        }
        // Each start has moved to its expert's end, which is the next one's start.
        starts.rotate_right(1);
        starts[0] = 0;
    }
}

impl Experts {
    /// Experts.
    fn n_expert(&self) -> usize {
        self.scores.matrix.n_out()
    }

    /// The matrices that every token is multiplied with.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let shared = self.shared.as_ref().map(|shared| shared.part.matrices());
        let latent = self.latent.as_ref().map(|latent| [&latent.down.matrix, &latent.up.matrix]);
        [&self.scores.matrix]
            .into_iter()
            .chain(shared.into_iter().flatten())
            .chain(latent.into_iter().flatten())
    }

    /// What the inputs of experts are multiplied with.
    fn first(&self) -> impl Iterator<Item = &Stack> {
        self.gate.iter().chain([&self.up])
    }

    /// The matrices of all experts, each once.
    pub(super) fn stacks(&self) -> impl Iterator<Item = &Matrix> {
        let gate = self.gate.as_ref().filter(|gate| !gate.is_of_one_matrix_with(&self.up));
        [&self.up.matrix, &self.down.matrix].into_iter().chain(gate.map(|gate| &gate.matrix))
    }

    /// The formats its input is needed in. The experts quantise their rows themselves.
    pub(super) fn input_formats(&self) -> Formats {
        Formats::of(self.matrices())
    }

    /// Adds the outputs for the first `n` rows of `input` to `sum`; the router looks at rows of its own.
    pub(super) fn step(
        &self,
        compute: Compute<'_>,
        (for_router, input): (&Inputs, &Inputs),
        n: usize,
        (scratch, gated): (&mut ExpertScratch, Option<&mut GatedScratch>),
        mut sum: Sum<'_>,
    ) {
        self.choose(compute, for_router, n, scratch);
        if let (Some(shared), Some(gated)) = (&self.shared, gated) {
            shared.add(compute, input, n, gated, &mut sum);
        }
        let (Some(latent), Some([mut narrow, mut outputs])) = (&self.latent, scratch.latent.take()) else {
            self.run(compute, input, n, scratch);
            return self.weigh(compute, n, scratch, sum.rows_mut(input.n_in()));
        };
        let n_latent = latent.up.matrix.n_in();
        [&mut narrow, &mut outputs].into_iter().for_each(|rows| rows.set_n_in(n_latent));
        let x = input.for_consumer(&latent.down.matrix, 0..n);
        compute.multiply([Product::of(&latent.down, x, narrow.floats_mut(0..n))]);
        self.run(compute, &narrow, n, scratch);
        let values = outputs.floats_mut(0..n);
        values.fill(0.0);
        self.weigh(compute, n, scratch, RowsMut { values, width: n_latent });
        let formats = Formats::of([&latent.up.matrix]);
        let piece_len = compute.piece_len(n, 4 * n_latent);
        let parts = pieces(outputs.rows_mut(0..n), piece_len);
        compute.for_each(4 * n * n_latent, parts, |mut rows: InputRows<'_>| {
            rows.quantize(compute.kernels, formats);
        });
        sum.add(compute, &latent.up, outputs.for_consumer(&latent.up.matrix, 0..n));
        scratch.latent = Some([narrow, outputs]);
    }

    /// Adds the weighted outputs of the first `n` tokens' experts to `sums`.
    fn weigh(&self, compute: Compute<'_>, n: usize, scratch: &ExpertScratch, sums: RowsMut<'_, f32>) {
        let (n_used, n_out) = (self.n_used, sums.width);
        let n_slots = n * n_used;
        let weight = |choice: &Choice| if self.router.spec.weighs_input { 1.0 } else { choice.weight };
        let (choices, outputs) = (&scratch.choices[..n_slots], &scratch.outputs);
        let piece_len = compute.piece_len(n, n_used * n_out);
        compute.for_each(
            n_slots * n_out,
            pieces(sums, piece_len).enumerate(),
            |(i, rows): (usize, RowsMut<'_, f32>)| {
                let choices = choices[i * piece_len * n_used..].chunks_exact(n_used);
                for (sum, choices) in rows.values.chunks_exact_mut(n_out).zip(choices) {
                    for choice in choices {
                        let output = &outputs[choice.slot * n_out..][..n_out];
                        compute.kernels.ops().add_scaled(sum, weight(choice), output);
                    }
                }
            },
        );
    }

    /// Chooses the experts of each of the first `n` tokens, from its row of `input`.
    fn choose(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut ExpertScratch) {
        let (n_expert, n_used) = (self.n_expert(), self.n_used);
        let ExpertScratch { scores, spare, choices, .. } = scratch;
        let scores = &mut scores[..n * n_expert];
        let x = input.for_consumer(&self.scores.matrix, 0..n);
        compute.multiply([Product::of(&self.scores, x, scores)]);
        // A choice looks at every expert's score once.
        let row_work = n_used * n_expert;
        let piece_len = compute.piece_len(n, row_work);
        let of = |values, width| pieces(RowsMut { values, width }, piece_len);
        let rows = of(scores, n_expert).zip(of(&mut spare[..n * n_expert], n_expert));
        let choices = pieces(RowsMut { values: &mut choices[..n * n_used], width: n_used }, piece_len);
        let ops = compute.kernels.ops();
        compute.for_each(n * row_work, rows.zip(choices), |((scores, spare), choices)| {
            let rows = scores.values.chunks_exact_mut(n_expert).zip(spare.values.chunks_exact_mut(n_expert));
            for ((scores, spare), choices) in rows.zip(choices.values.chunks_exact_mut(n_used)) {
                self.router.choose(ops, scores, spare, choices);
            }
        });
        scratch.assign_slots(n, n_used, n_expert);
    }

    /// Computes the outputs of all slots.
    fn run(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut ExpertScratch) {
        let (n_embd, n_ff) = (input.n_in(), self.up.n_out);
        let n_slots = n * self.n_used;
        let ExpertScratch { starts, tokens, inputs, gated, outputs, .. } = scratch;
        let starts = &starts[..=self.n_expert()];
        for stack in self.first().chain([&self.down]) {
            chosen_experts(starts)
                .filter_map(|e| stack.file_span_of(e))
                .for_each(|span| compute.observer.soon(span));
        }
        let weighs = self.router.spec.weighs_input;
        let formats = Formats::of(self.first().map(|stack| &stack.matrix));
        inputs.set_n_in(n_embd);
        let work = 8 * n_slots * n_embd;
        let piece_len = compute.piece_len(n_slots, 8 * n_embd);
        let parts = pieces(inputs.rows_mut(0..n_slots), piece_len).enumerate();
        compute.for_each(work, parts, |(i, mut slots): (usize, InputRows<'_>)| {
            let slot_tokens = &tokens[i * piece_len..];
            for (slot, &(token, weight)) in slots.floats().chunks_exact_mut(n_embd).zip(slot_tokens) {
                slot.copy_from_slice(input.floats(token..token + 1));
                if weighs {
                    slot.iter_mut().for_each(|x| *x *= weight);
                }
            }
            slots.quantize(compute.kernels, formats);
        });
        let gates = self
            .gate
            .as_ref()
            .map(|gate| stack_products(gate, starts, inputs, &mut gated.gate[..n_slots * n_ff]));
        let ups = stack_products(&self.up, starts, inputs, &mut gated.up[..n_slots * n_ff]);
        let n_first = self.first().count();
        compute.multiply_all(n_first * n_slots * n_ff * n_embd, gates.into_iter().flatten().chain(ups));
        let down = Formats::of([&self.down.matrix]);
        let activation = (self.activation, n_ff);
        match &self.gate {
            Some(_) => gated.activate(compute, activation, down, n_slots),
            None => gated.activate_alone(compute, activation, down, n_slots),
        }
        let outputs = &mut outputs[..n_slots * n_embd];
        let downs = stack_products(&self.down, starts, &gated.hidden, outputs);
        compute.multiply_all(n_slots * n_ff * n_embd, downs);
    }
}

/// One product for each expert that has slots, with its part of a stack of matrices.
fn stack_products<'a>(
    stack: &'a Stack,
    starts: &'a [usize],
    inputs: &'a Inputs,
    out: &'a mut [f32],
) -> impl Iterator<Item = Product<'a>> {
    let mut rest = out;
    chosen_experts(starts).map(move |expert| {
        let slots = starts[expert]..starts[expert + 1];
        let (out, after) = core::mem::take(&mut rest).split_at_mut(slots.len() * stack.n_out);
        rest = after;
        Product::of_expert(stack, expert, inputs.for_consumer(&stack.matrix, slots), out)
    })
}

/// The experts that have slots, where expert `e` has the slots `starts[e]..starts[e + 1]`.
fn chosen_experts(starts: &[usize]) -> impl Iterator<Item = usize> {
    starts.windows(2).enumerate().filter(|(_, ends)| ends[0] < ends[1]).map(|(expert, _)| expert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_sorted_by_expert_and_keep_their_token() {
        let buffers = &mut Buffers::real();
        let mut scratch = ExpertScratch {
            scores: Vec::new(),
            spare: Vec::new(),
            choices: [3, 0, 1, 3, 3, 1].map(|expert| Choice { expert, ..Choice::default() }).to_vec(),
            starts: vec![0; 5],
            tokens: vec![(0, 1.0); 6],
            inputs: Inputs::new(buffers, 0, 1, Formats::default()).unwrap(),
            gated: GatedScratch::new(buffers, 0, 1, Formats::default()).unwrap(),
            outputs: Vec::new(),
            latent: None,
        };
        scratch.assign_slots(3, 2, 4);
        assert_eq!(scratch.starts, [0, 1, 3, 3, 6]);
        let tokens: Vec<_> = scratch.tokens.iter().map(|slot| slot.0).collect();
        assert_eq!(tokens, [0, 1, 2, 0, 1, 2]);
        let slots: Vec<_> = scratch.choices.iter().map(|choice| choice.slot).collect();
        assert_eq!(slots, [3, 0, 1, 4, 5, 2]);
    }
}
