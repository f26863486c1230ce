//! The routed feed-forward part: each token goes through a few of many experts.
//!
//! Tokens are sorted by expert, so that an expert's weights are read once per batch; the outputs are added
//! in the order of each token's own choice, which the batch does not change. What all tokens go through is
//! added before them.

use super::gated::GatedScratch;
use super::router::{Choice, Router};
use super::shared::Shared;
use super::stacks::{Adjugate, ExpertStacks, Slots};
use crate::error::Result;
use crate::model::compute::{Compute, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::Norm;
use crate::model::layer::stream::Sum;
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::weights::{Linear, Matrix};

/// Several parts, of which each token goes through a few.
#[derive(Debug)]
pub(in crate::model) struct Experts {
    /// Experts each token goes through.
    pub(in crate::model) n_used: usize,
    /// Of the stream that the layer's mixer has not added to, if experts and router get that.
    pub(in crate::model) early_norm: Option<Norm>,
    /// `[n_expert, n_embd]`.
    pub(in crate::model) scores: Linear,
    pub(in crate::model) router: Router,
    /// What brings inputs into the experts' own space and outputs back, if they have one: then its width is their
    /// `n_embd` below.
    pub(in crate::model) latent: Option<Latent>,
    pub(in crate::model) stacks: ExpertStacks,
    /// The narrow parts that several experts share.
    pub(in crate::model) adjugate: Option<Adjugate>,
    /// What every token goes through as well.
    pub(in crate::model) shared: Option<Shared>,
}

/// What the parts of such a layer look at.
#[derive(Clone, Copy)]
pub(super) struct ExpertInputs<'a> {
    pub(super) router: &'a Inputs,
    pub(super) experts: &'a Inputs,
    pub(super) shared: &'a Inputs,
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
    /// `[n_batch * n_used, n_embd]`: that of the narrow part which its expert shares.
    adjugate: Vec<f32>,
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
        let all = || parts.iter().flat_map(|part| part.all_stacks());
        let inputs = all().map(ExpertStacks::input_formats).fold(Formats::default(), Formats::union);
        let hidden = Formats::of(all().map(|stacks| &stacks.down.matrix));
        let n_ff = all().map(|stacks| stacks.up.n_out).max().unwrap_or(0);
        let n_embd = most(&|part| part.stacks.down.n_out);
        let n_narrow = if parts.iter().any(|part| part.adjugate.is_some()) { n_embd } else { 0 };
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
            inputs: Inputs::new(buffers, n_slots, most(&|part| part.stacks.up.matrix.n_in()), inputs)?,
            gated: GatedScratch::new(buffers, n_slots, n_ff, hidden)?,
            outputs: buffers.zeroed(0.0, n_slots, n_embd)?,
            adjugate: buffers.zeroed(0.0, n_slots, n_narrow)?,
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

    /// The experts' matrices, and those of the parts they share.
    fn all_stacks(&self) -> impl Iterator<Item = &ExpertStacks> {
        [&self.stacks].into_iter().chain(self.adjugate.as_ref().map(|part| &part.stacks))
    }

    /// The matrices of all experts, each once.
    pub(super) fn expert_matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.all_stacks().flat_map(ExpertStacks::matrices)
    }

    /// The formats its input is needed in. The experts quantise their rows themselves.
    pub(super) fn input_formats(&self) -> Formats {
        Formats::of(self.matrices())
    }

    /// Adds the outputs for the first `n` rows of the inputs to `sum`.
    pub(super) fn step(
        &self,
        compute: Compute<'_>,
        ExpertInputs { router, experts: input, shared }: ExpertInputs<'_>,
        n: usize,
        (scratch, gated): (&mut ExpertScratch, Option<&mut GatedScratch>),
        mut sum: Sum<'_>,
    ) {
        self.choose(compute, router, n, scratch);
        if let (Some(part), Some(gated)) = (&self.shared, gated) {
            part.add(compute, shared, n, gated, &mut sum);
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
        let adjugate = self.adjugate.as_ref().map(|part| (part.scale, &scratch.adjugate));
        let piece_len = compute.piece_len(n, n_used * n_out);
        compute.for_each(
            n_slots * n_out,
            pieces(sums, piece_len).enumerate(),
            |(i, rows): (usize, RowsMut<'_, f32>)| {
                let choices = choices[i * piece_len * n_used..].chunks_exact(n_used);
                for (sum, choices) in rows.values.chunks_exact_mut(n_out).zip(choices) {
                    for choice in choices {
                        let slot = choice.slot * n_out..(choice.slot + 1) * n_out;
                        compute.kernels.ops().add_scaled(sum, weight(choice), &outputs[slot.clone()]);
                        if let Some((scale, outputs)) = adjugate {
                            compute.kernels.ops().add_scaled(sum, weight(choice) * scale, &outputs[slot]);
                        }
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
        let n_embd = input.n_in();
        let n_slots = n * self.n_used;
        let ExpertScratch { starts, tokens, inputs, gated, outputs, adjugate, .. } = scratch;
        let starts = &starts[..=self.n_expert()];
        let slots = Slots { starts, group: 1 };
        let narrow = self.adjugate.as_ref().map(|part| (&part.stacks, Slots { starts, group: part.group }));
        self.stacks.announce(compute, slots);
        if let Some((stacks, slots)) = narrow {
            stacks.announce(compute, slots);
        }
        let weighs = self.router.spec.weighs_input;
        let formats =
            self.all_stacks().map(ExpertStacks::input_formats).fold(Formats::default(), Formats::union);
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
        self.stacks.run(compute, slots, inputs, (gated, outputs));
        if let Some((stacks, slots)) = narrow {
            stacks.run(compute, slots, inputs, (gated, adjugate));
        }
    }
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
            adjugate: Vec::new(),
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
